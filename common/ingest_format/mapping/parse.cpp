#include "common/ingest_format/mapping/mapping.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>

namespace troupe::ingest_format {

namespace {

using namespace rules;

/// The first thing that is wrong; reading goes on to the end with defaults, then fails with it.
struct context {
  std::string_view name;
  std::optional<error> wrong;

  template <class... Args>
  void fail_at(const toml::source_region& where, fmt::format_string<Args...> text, Args&&... args) {
    if (!wrong)
      wrong = error{ec::invalid_argument, fmt::format("mapping {}, line {}: {}", name, where.begin.line,
                                                      fmt::format(text, std::forward<Args>(args)...))};
  }

  void known(const toml::table& table, std::string_view what, std::initializer_list<std::string_view> keys) {
    for (auto&& [key, value] : table)
      if (std::find(keys.begin(), keys.end(), key.str()) == keys.end())
        fail_at(key.source(), "unknown key {} in {}; known are {}", key.str(), what, fmt::join(keys, ", "));
  }

  template <class T>
  std::optional<T> get(const toml::table& table, std::string_view key, std::string_view what) {
    auto* node = table.get(key);
    if (!node)
      return std::nullopt;
    if constexpr (std::is_same_v<T, double>) {
      if (auto number = node->value<double>(); number && std::isfinite(*number) && node->is_number())
        return number;
    } else if (auto value = node->value_exact<T>()) {
      return value;
    }
    fail_at(node->source(), "{} must be {}", key, what);
    return std::nullopt;
  }

  std::string text(const toml::table& table, std::string_view key, std::string otherwise = {}) {
    return get<std::string>(table, key, "a text").value_or(std::move(otherwise));
  }

  bool flag(const toml::table& table, std::string_view key, bool otherwise = false) {
    return get<bool>(table, key, "true or false").value_or(otherwise);
  }

  std::vector<std::string> texts(const toml::node& node, std::string_view key) {
    std::vector<std::string> out;
    if (auto one = node.value_exact<std::string>())
      return {*one};
    if (auto* list = node.as_array())
      for (auto& each : *list) {
        auto one = each.value_exact<std::string>();
        if (!one)
          fail_at(each.source(), "{} must be a list of texts", key);
        out.push_back(one.value_or(""));
      }
    else
      fail_at(node.source(), "{} must be a text or a list of texts", key);
    return out;
  }
};

/// `path:1` or the name of a column.
part column_part(context& at, const toml::node& node, std::string_view name) {
  if (!name.starts_with("path:"))
    return {part::from::column, std::string{name}, 0};
  std::size_t depth = 0;
  auto digits = name.substr(5);
  auto [stop, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), depth);
  if (wrong != std::errc{} || stop != digits.data() + digits.size() || depth > 64)
    at.fail_at(node.source(), "{} must be path: and a number: 0 is the file's name, 1 its folder", name);
  return {part::from::path, {}, depth};
}

std::vector<part> template_parts(context& at, const toml::node& node, std::string_view text) {
  std::vector<part> parts;
  auto literal = [&](std::string_view piece) {
    if (parts.empty() || parts.back().of != part::from::literal)
      parts.push_back({part::from::literal, {}, 0});
    parts.back().text += piece;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) == "{{" || text.substr(i, 2) == "}}") {
      literal(text.substr(i++, 1));
    } else if (text[i] == '{') {
      auto end = text.find('}', i);
      if (end == std::string_view::npos || end == i + 1) {
        at.fail_at(node.source(), "template `{}` has a {{ without a column and a }}", text);
        return parts;
      }
      parts.push_back(column_part(at, node, text.substr(i + 1, end - i - 1)));
      i = end;
    } else {
      literal(text.substr(i, 1));
    }
  }
  return parts;
}

value_type read_type(context& at, const toml::table& table, value_type otherwise) {
  auto* node = table.get("type");
  if (!node)
    return otherwise;
  constexpr std::pair<std::string_view, value_type> known[] = {{"text", value_type::text},
                                                               {"number", value_type::number},
                                                               {"flag", value_type::flag},
                                                               {"list", value_type::list},
                                                               {"time", value_type::time}};
  auto name = node->value_exact<std::string>().value_or("");
  for (auto& [word, type] : known)
    if (word == name)
      return type;
  at.fail_at(node->source(), "type must be text, number, flag, list or time");
  return otherwise;
}

source read_source(context& at, const toml::node& node, std::string_view field, bool trim,
                   value_type type = value_type::natural) {
  source made;
  made.type = type;
  made.trim = trim;
  if (auto column = node.value_exact<std::string>()) {
    made.parts = {column_part(at, node, *column)};
    return made;
  }
  auto* table = node.as_table();
  if (!table) {
    at.fail_at(node.source(),
               "{} must be the name of a column, or a table with column, constant, template or flags", field);
    return made;
  }
  at.known(*table, field,
           {"column", "constant", "template", "flags", "type", "format", "separator", "map", "default",
            "scale", "offset", "trim", "hash", "optional"});
  int given = 0;
  if (auto column = at.get<std::string>(*table, "column", "a text"); column && ++given)
    made.parts = {column_part(at, *table->get("column"), *column)};
  if (auto* constant = table->get("constant"); constant && ++given) {
    auto text = constant->value_exact<std::string>();
    if (auto whole = constant->value_exact<std::int64_t>())
      text = std::to_string(*whole);
    else if (auto number = constant->value_exact<double>())
      text = fmt::format("{}", *number);
    if (!text)
      at.fail_at(constant->source(), "constant must be a text or a number");
    made.parts = {{part::from::literal, text.value_or(""), 0}};
  }
  if (auto text = at.get<std::string>(*table, "template", "a text"); text && ++given)
    made.parts = template_parts(at, *table->get("template"), *text);
  if (auto* flags = table->get("flags"); flags && ++given) {
    made.flags = at.texts(*flags, "flags");
    made.type = value_type::list;
    if (made.flags.empty())
      at.fail_at(flags->source(), "flags must name columns");
  }
  if (given != 1)
    at.fail_at(table->source(), "{} needs exactly one of column, constant, template and flags", field);
  made.type = read_type(at, *table, made.type);
  if (!made.flags.empty() && made.type != value_type::list)
    at.fail_at(table->source(), "{}: flags give a list", field);
  if (auto* format = table->get("format")) {
    auto parsed = time_format::parse(at.text(*table, "format"));
    if (parsed)
      made.format = std::move(*parsed);
    else
      at.fail_at(format->source(), "{}", parsed.error().text);
  }
  made.separator = at.text(*table, "separator", made.type == value_type::list ? "|" : "");
  if (made.type == value_type::list && made.separator.empty())
    at.fail_at(table->source(), "{}: separator must not be empty", field);
  if (auto* words = table->get("map")) {
    if (auto* pairs = words->as_table())
      for (auto&& [key, value] : *pairs) {
        auto text = value.value_exact<std::string>();
        if (!text)
          at.fail_at(value.source(), "map must give texts for texts");
        made.words.emplace(key.str(), text.value_or(""));
      }
    else
      at.fail_at(words->source(), "map must be a table");
  }
  made.otherwise = at.get<std::string>(*table, "default", "a text");
  made.scale = at.get<double>(*table, "scale", "a finite number").value_or(1);
  made.offset = at.get<double>(*table, "offset", "a finite number").value_or(0);
  made.trim = at.flag(*table, "trim", trim);
  made.hash = at.flag(*table, "hash");
  made.optional = at.flag(*table, "optional");
  return made;
}

condition read_condition(context& at, const toml::node& node) {
  condition made;
  auto* table = node.as_table();
  if (!table) {
    at.fail_at(node.source(), "when must be a table or a list of tables");
    return made;
  }
  at.known(*table, "when", {"column", "equals", "not_equals", "in", "not_empty", "empty", "optional"});
  made.column = at.text(*table, "column");
  if (made.column.empty())
    at.fail_at(table->source(), "when needs a column");
  int given = 0;
  auto words = [&](std::string_view key, condition::test test) {
    if (auto* each = table->get(key); each && ++given) {
      made.is = test;
      made.words = at.texts(*each, key);
    }
  };
  words("equals", condition::test::equals);
  words("not_equals", condition::test::not_equals);
  words("in", condition::test::one_of);
  if (table->contains("not_empty") && ++given)
    made.is = at.flag(*table, "not_empty") ? condition::test::not_empty : condition::test::empty;
  if (table->contains("empty") && ++given)
    made.is = at.flag(*table, "empty") ? condition::test::empty : condition::test::not_empty;
  if (given != 1)
    at.fail_at(table->source(), "when needs exactly one of equals, not_equals, in, not_empty and empty");
  made.optional = at.flag(*table, "optional");
  return made;
}

id_rule read_id(context& at, const toml::table& table, bool trim) {
  id_rule made;
  auto* node = table.get("id");
  if (!node) {
    made.position = true;
    return made;
  }
  auto add = [&](const toml::node& each) {
    if (each.value_exact<std::string>() == "position")
      made.position = true;
    else
      made.parts.emplace_back(read_source(at, each, "id", trim)).identity = true;
  };
  if (auto* list = node->as_array()) {
    for (auto& each : *list)
      add(each);
    if (list->empty())
      at.fail_at(node->source(), "id must name columns or be \"position\"");
  } else if (node->is_table()) {
    made.given = read_source(at, *node, "id", trim);
    made.given->identity = true;
    made.position = true;
  } else {
    add(*node);
  }
  return made;
}

record_rule read_record(context& at, const toml::table& table, bool trim) {
  record_rule made;
  if (auto* layout = table.get("layout")) {
    at.known(table, "[[file.record]] with a layout", {"layout"});
    if (layout->value_exact<std::string>() != "native")
      at.fail_at(layout->source(), "layout must be \"native\": rows as they are sent over HTTP");
    made.native = made.id.position = true;
    return made;
  }
  at.known(table, "[[file.record]]",
           {"layout", "kind", "id", "type", "user", "item", "event_time", "value", "request_id", "position",
            "propensity", "slate_by", "when", "attributes", "attributes_from"});
  auto field = [&](std::string_view key, std::optional<source>& to, value_type type = value_type::text) {
    if (auto* node = table.get(key)) {
      to = read_source(at, *node, key, trim, type);
      to->identity = type == value_type::text;
      if (to->type != type)
        at.fail_at(node->source(), "{} cannot have that type", key);
    }
  };
  if (auto* kind = table.get("kind")) {
    constexpr std::pair<std::string_view, record_kind> kinds[] = {{"event", record_kind::event},
                                                                  {"slate", record_kind::slate},
                                                                  {"user", record_kind::user},
                                                                  {"item", record_kind::item}};
    if (auto name = kind->value_exact<std::string>()) {
      for (auto& [word, value] : kinds)
        if (word == *name)
          made.kind = value;
      if (!made.kind)
        at.fail_at(kind->source(),
                   "kind must be event, slate, user or item, or a table with a column that says so");
    } else {
      field("kind", made.kind_from);
    }
  } else {
    at.fail_at(table.source(), "[[file.record]] needs a kind: event, slate, user or item");
  }
  made.id = read_id(at, table, trim);
  field("type", made.type);
  field("user", made.user);
  field("item", made.item);
  field("event_time", made.event_time, value_type::time);
  field("value", made.value, value_type::number);
  field("request_id", made.request_id);
  field("position", made.position, value_type::number);
  field("propensity", made.propensity, value_type::number);
  field("slate_by", made.slate_by);
  if (auto* when = table.get("when")) {
    if (auto* list = when->as_array())
      for (auto& each : *list)
        made.when.push_back(read_condition(at, each));
    else
      made.when.push_back(read_condition(at, *when));
  }
  if (auto* attributes = table.get("attributes")) {
    if (auto* all = attributes->as_table())
      for (auto&& [key, value] : *all)
        made.attributes.emplace_back(key.str(), read_source(at, value, key.str(), trim));
    else
      at.fail_at(attributes->source(), "attributes must be a table");
  }
  if (auto* maps = table.get("attributes_from"))
    made.attribute_maps = at.texts(*maps, "attributes_from");
  auto needs = [&](record_kind kind, std::string_view key) {
    if (made.kind == kind && !table.contains(key))
      at.fail_at(table.source(), "[[file.record]] of kind {} needs {}", to_string(kind), key);
  };
  for (auto key : {"type", "user", "item", "event_time"})
    needs(record_kind::event, key);
  for (auto key : {"user", "item", "event_time"})
    needs(record_kind::slate, key);
  auto never = [&](bool bad, std::initializer_list<std::string_view> keys, std::string_view why) {
    for (auto key : keys)
      if (bad && table.contains(key))
        at.fail_at(table.get(key)->source(), "{} {}", key, why);
  };
  never(made.kind == record_kind::slate, {"type", "value"}, "is nothing that a slate has");
  never(made.kind && made.kind != record_kind::slate, {"position", "propensity"},
        "belongs to slates; of other kinds it is one of the attributes");
  never(made.kind != record_kind::slate, {"slate_by"}, "needs kind = \"slate\"");
  needs(record_kind::user, "user");
  needs(record_kind::item, "item");
  return made;
}

/// Says to the reader which columns the records are made of, and which of them are names.
void name_columns(file_rule& of) {
  auto& wanted = of.options.wanted.emplace();
  auto add = [&](const source& from) {
    for (auto& each : from.parts)
      if (each.of == part::from::column) {
        wanted.push_back(each.text);
        if (from.identity)
          of.options.identities.push_back(each.text);
      }
    wanted.insert(wanted.end(), from.flags.begin(), from.flags.end());
  };
  for (auto& rule : of.records) {
    if (rule.native) {
      wanted.insert(wanted.end(), row_fields().begin(), row_fields().end());
      of.options.identities.insert(of.options.identities.end(), {"id", "type", "user", "item", "request_id"});
    }
    for (auto& each : rule.id.parts)
      add(each);
    for (auto* each : {&rule.kind_from, &rule.id.given, &rule.type, &rule.user, &rule.item, &rule.event_time,
                       &rule.value, &rule.request_id, &rule.position, &rule.propensity, &rule.slate_by})
      if (*each)
        add(**each);
    for (auto& [name, each] : rule.attributes)
      add(each);
    wanted.insert(wanted.end(), rule.attribute_maps.begin(), rule.attribute_maps.end());
    for (auto& each : rule.when)
      wanted.push_back(each.column);
  }
}

file_rule read_file(context& at, const toml::table& table) {
  file_rule made;
  at.known(table, "[[file]]",
           {"pattern", "format", "delimiter", "quote", "header", "columns", "encoding", "null", "trim",
            "skip_rows", "max_row_bytes", "max_ahead", "record"});
  if (auto* pattern = table.get("pattern"))
    made.patterns = at.texts(*pattern, "pattern");
  if (made.patterns.empty())
    at.fail_at(table.source(), "[[file]] needs a pattern, such as \"*.csv\"");
  auto& options = made.options;
  if (auto* node = table.get("format")) {
    auto name = at.text(table, "format");
    if (name == "csv")
      options.format = file_format::csv;
    else if (name == "jsonl")
      options.format = file_format::json_lines;
    else if (name == "parquet")
      options.format = file_format::parquet;
    else if (name != "auto")
      at.fail_at(node->source(), "format must be csv, jsonl, parquet or auto");
  }
  options.csv.delimiter = at.text(table, "delimiter", ",");
  if (options.csv.delimiter.empty() || options.csv.delimiter.find_first_of("\r\n") != std::string::npos)
    at.fail_at(table.source(), "delimiter must not be empty or hold a line end");
  if (auto* node = table.get("quote")) {
    auto quote = at.text(table, "quote");
    if (quote.size() > 1 || quote == "\n" || quote == "\r" ||
        (!quote.empty() && options.csv.delimiter.starts_with(quote)))
      at.fail_at(node->source(), "quote must be one character other than the delimiter, or \"\" for none");
    options.csv.quote = quote.empty() ? std::nullopt : std::optional{quote.front()};
  }
  if (auto* columns = table.get("columns"))
    options.csv.columns = at.texts(*columns, "columns");
  options.csv.header = at.flag(table, "header", options.csv.columns.empty());
  if (!options.csv.header && options.csv.columns.empty())
    at.fail_at(table.source(), "[[file]] without a header needs columns");
  auto count = [&](std::string_view key, std::int64_t otherwise, std::int64_t least, std::int64_t most) {
    auto value = at.get<std::int64_t>(table, key, "a whole number").value_or(otherwise);
    if (value < least || value > most)
      at.fail_at(table.get(key)->source(), "{} must be {} to {}", key, least, most);
    return static_cast<std::uint64_t>(std::clamp(value, least, most));
  };
  options.csv.skip_rows = count("skip_rows", 0, 0, 1'000'000);
  options.max_row_bytes = count("max_row_bytes", 1 << 20, 64, 16 << 20);
  if (auto* node = table.get("encoding")) {
    auto name = at.text(table, "encoding");
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char each) { return std::tolower(each); });
    if (name == "iso-8859-1" || name == "latin1")
      options.encoding = text_encoding::latin1;
    else if (name == "windows-1252")
      options.encoding = text_encoding::windows1252;
    else if (name != "utf-8")
      at.fail_at(node->source(), "encoding must be utf-8, iso-8859-1 or windows-1252");
  }
  if (auto* tokens = table.get("null")) {
    made.null_tokens = at.texts(*tokens, "null");
    made.null_tokens.emplace_back("");
  }
  made.trim = at.flag(table, "trim");
  if (auto* node = table.get("max_ahead")) {
    auto span = parse_duration(at.text(table, "max_ahead"));
    if (span)
      made.max_ahead = *span;
    else
      at.fail_at(node->source(), "max_ahead: {}", span.error().text);
  }
  auto* records = table.get("record");
  if (!records || !records->is_array() || records->as_array()->empty()) {
    at.fail_at(table.source(), "[[file]] needs one [[file.record]] or more");
    return made;
  }
  for (auto& each : *records->as_array()) {
    if (auto* one = each.as_table())
      made.records.push_back(read_record(at, *one, made.trim));
    else
      at.fail_at(each.source(), "[[file.record]] must be a table");
  }
  if (std::ranges::count_if(made.records, [](auto& each) { return each.slate_by.has_value(); }) > 1)
    at.fail_at(table.source(), "[[file]] has slate_by twice: its rows can be joined in one way alone");
  name_columns(made);
  return made;
}

} // namespace

expected<std::vector<file_rule>> parse_rules(std::string_view text, std::string_view name) {
  toml::table root;
  try {
    root = toml::parse(text, name);
  } catch (const toml::parse_error& wrong) {
    return fail(ec::invalid_argument, "mapping {}, line {}: {}", name, wrong.source().begin.line,
                wrong.description());
  }
  context at{name, {}};
  at.known(root, "the mapping", {"name", "description", "file"});
  at.text(root, "name");
  at.text(root, "description");
  std::vector<file_rule> files;
  auto* list = root.get("file");
  if (!list || !list->is_array_of_tables() || list->as_array()->empty())
    return fail(ec::invalid_argument, "mapping {} needs one [[file]] or more", name);
  for (auto& each : *list->as_array())
    files.push_back(read_file(at, *each.as_table()));
  if (at.wrong)
    return unexpected<error>{std::move(*at.wrong)};
  return files;
}

} // namespace troupe::ingest_format
