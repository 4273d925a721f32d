#include "services/ingest/mapping/mapping.hpp"

#include "services/ingest/mapping/shipped.hpp"
#include "services/ingest/readers/row_text.hpp"

#include "common/core/hash.hpp"

#include <fnmatch.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

namespace troupe::ingest {

namespace {

using namespace rules;
namespace dom = simdjson::dom;

/// What a column of one row holds.
struct cell {
  enum class state : std::uint8_t { missing, text, json } is = state::missing;
  std::string_view text{};
  dom::element json{};
};

struct bound_column {
  std::string name;
  std::size_t index = 0;         // CSV.
  std::vector<std::string> path; // JSON.
};

struct bound_part {
  part::from of;
  std::string text; // The literal, or what the path gives.
  bound_column column;
};

struct bound_source {
  source rule;
  std::string name; // Of the field, for messages.
  std::vector<bound_part> parts;
  std::vector<std::pair<bound_column, std::string>> flags; // With the word for each.
};

struct bound_condition {
  condition rule;
  bound_column column;
};

struct bound_record {
  std::optional<record_kind> kind;
  std::optional<bound_source> kind_from;
  bool position = false;
  std::vector<bound_source> id_parts;
  std::optional<bound_source> id, type, user, item, event_time, value, request_id;
  std::vector<bound_source> attributes;
  std::vector<bound_column> attribute_maps;
  std::vector<bound_condition> when;
};

constexpr auto absent_column = static_cast<std::size_t>(-1);

std::string_view trimmed(std::string_view text) noexcept {
  auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos)
    return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

void append_element(dom::element from, std::string& to) {
  switch (from.type()) {
  case dom::element_type::STRING: {
    std::string_view text;
    if (from.get(text) == simdjson::SUCCESS)
      to += text;
    break;
  }
  case dom::element_type::DOUBLE: {
    double number = 0;
    if (from.get(number) == simdjson::SUCCESS)
      fmt::format_to(std::back_inserter(to), "{}", number);
    break;
  }
  default:
    to += simdjson::minify(from);
  }
}

std::string described(const bound_source& from) {
  if (from.parts.size() == 1 && from.parts[0].of == part::from::column)
    return fmt::format("column {}", from.parts[0].column.name);
  return "its template";
}

std::string shown(std::string_view text) {
  return fmt::format("`{}{}`", text.substr(0, 60), text.size() > 60 ? "..." : "");
}

/// The first of the two that holds the name, as fnmatch understands it, over as many path components as the
/// pattern has.
bool matches(const std::filesystem::path& path, const std::string& pattern) {
  auto depth = static_cast<std::size_t>(std::count(pattern.begin(), pattern.end(), '/'));
  std::string tail = without_compression(path);
  auto folder = path.parent_path();
  for (std::size_t i = 0; i < depth; ++i) {
    if (folder.filename().empty())
      return false;
    tail = folder.filename().string() + '/' + tail;
    folder = folder.parent_path();
  }
  return ::fnmatch(pattern.c_str(), tail.c_str(), FNM_PATHNAME) == 0;
}

} // namespace

struct row_mapper::state {
  file_format format = file_format::csv;
  std::vector<std::string> columns;
  std::vector<std::string> null_tokens;
  bool only_empty_is_null = false;
  bool trim = false;
  std::vector<bound_record> records;
  std::uint64_t file_hash = 0;
  row_decoder decoder;
  dom::parser parser, inner_parser;

  // Of the row at hand.
  const raw_row* row = nullptr;
  dom::object object;
  std::optional<refusal> wrong;
  std::string scratch;
  std::string replay_name;

  explicit state(const source_options& how) : decoder{how.csv, how.encoding} {}

  bool is_null(std::string_view text) const noexcept {
    if (only_empty_is_null)
      return text.empty();
    return std::find(null_tokens.begin(), null_tokens.end(), text) != null_tokens.end();
  }

  void refuse(std::string_view rule, std::string_view field, std::string reason) {
    if (!wrong)
      wrong = refusal{std::string{rule}, std::string{field}, std::move(reason)};
  }

  cell look(const bound_column& column, bool trims) const {
    if (format == file_format::csv) {
      if (column.index >= row->fields.size())
        return {};
      auto text = row->fields[column.index];
      if (trims)
        text = trimmed(text);
      return is_null(text) ? cell{} : cell{cell::state::text, text, {}};
    }
    dom::element at;
    auto found = object.at_key(column.path.front()).get(at);
    for (std::size_t i = 1; i < column.path.size() && found == simdjson::SUCCESS; ++i) {
      dom::array list;
      std::size_t index = 0;
      auto& step = column.path[i];
      if (at.get(list) == simdjson::SUCCESS) {
        auto [stop, bad] = std::from_chars(step.data(), step.data() + step.size(), index);
        bool number = bad == std::errc{} && stop == step.data() + step.size();
        found = number ? list.at(index).get(at) : simdjson::NO_SUCH_FIELD;
      } else {
        found = at.at_key(step).get(at);
      }
    }
    if (found != simdjson::SUCCESS && column.path.size() > 1)
      found = object.at_key(column.name).get(at);
    if (found != simdjson::SUCCESS || at.is_null())
      return {};
    std::string_view text;
    if (at.get(text) != simdjson::SUCCESS)
      return {cell::state::json, {}, at};
    if (trims)
      text = trimmed(text);
    return is_null(text) ? cell{} : cell{cell::state::text, text, {}};
  }

  static void append(const cell& from, std::string& to) {
    if (from.is == cell::state::text)
      to += from.text;
    else
      append_element(from.json, to);
  }

  /// Writes the text of a value; false where there is none.
  bool text_of(const bound_source& from, std::string& to) {
    to.clear();
    bool there = true;
    for (auto& each : from.parts) {
      if (each.of != part::from::column) {
        to += each.text;
        continue;
      }
      auto found = look(each.column, from.rule.trim);
      there = found.is != cell::state::missing;
      if (!there)
        break;
      append(found, to);
    }
    if (!there) {
      if (!from.rule.otherwise)
        return false;
      to = *from.rule.otherwise;
    }
    if (!from.rule.words.empty())
      if (auto word = from.rule.words.find(to); word != from.rule.words.end())
        to = word->second;
    if (from.rule.hash)
      to = to_hex(hash_wide(to));
    return !to.empty();
  }

  std::optional<double> number_of(const bound_source& from) {
    double number = 0;
    if (from.parts.size() == 1 && from.parts[0].of == part::from::column && from.rule.words.empty()) {
      auto found = look(from.parts[0].column, from.rule.trim);
      if (found.is == cell::state::json && found.json.get(number) == simdjson::SUCCESS)
        return number * from.rule.scale + from.rule.offset;
    }
    if (!text_of(from, scratch))
      return std::nullopt;
    auto text = trimmed(scratch);
    auto [stop, bad] =
        std::from_chars(text.data() + text.starts_with('+'), text.data() + text.size(), number);
    number = number * from.rule.scale + from.rule.offset;
    if (bad != std::errc{} || stop != text.data() + text.size() || !std::isfinite(number)) {
      refuse("parse", from.name,
             fmt::format("{} of {} is not a finite number", shown(scratch), described(from)));
      return std::nullopt;
    }
    return number;
  }

  std::optional<bool> flag_of(const bound_source& from) {
    if (!text_of(from, scratch))
      return std::nullopt;
    for (auto word : {"1", "true", "True", "TRUE", "t", "yes", "Y", "y"})
      if (scratch == word)
        return true;
    for (auto word : {"0", "false", "False", "FALSE", "f", "no", "N", "n"})
      if (scratch == word)
        return false;
    refuse("parse", from.name, fmt::format("{} of {} is not a flag", shown(scratch), described(from)));
    return std::nullopt;
  }

  std::optional<timestamp> time_of(const bound_source& from) {
    if (!text_of(from, scratch))
      return std::nullopt;
    auto at = from.rule.format.read(scratch);
    if (!at)
      refuse("parse", from.name,
             fmt::format("{} of {} is not a time of format {}", shown(scratch), described(from),
                         from.rule.format.text()));
    return at;
  }

  const std::string& word_of(const bound_source& from, const std::string& word) const {
    auto known = from.rule.words.find(word);
    return known == from.rule.words.end() ? word : known->second;
  }

  static text_list list_of(dom::array from) {
    text_list words;
    for (auto each : from)
      if (!each.is_null())
        append_element(each, words.emplace_back());
    return words;
  }

  std::optional<text_list> list_of(const bound_source& from) {
    text_list words;
    if (!from.flags.empty()) {
      for (auto& [column, word] : from.flags) {
        scratch.clear();
        auto found = look(column, true);
        if (found.is == cell::state::missing)
          continue;
        append(found, scratch);
        if (scratch == "1" || scratch == "true")
          words.push_back(word);
        else if (scratch != "0" && scratch != "false")
          refuse("parse", from.name,
                 fmt::format("{} of column {} is not 0 or 1", shown(scratch), column.name));
      }
      return words;
    }
    if (from.parts.size() == 1 && from.parts[0].of == part::from::column) {
      auto found = look(from.parts[0].column, from.rule.trim);
      dom::array list;
      if (found.is == cell::state::json && found.json.get(list) == simdjson::SUCCESS) {
        words = list_of(list);
        for (auto& each : words)
          each = word_of(from, each);
        return words;
      }
    }
    if (!text_of(from, scratch))
      return std::nullopt;
    std::string_view rest = scratch;
    while (true) {
      auto end = rest.find(from.rule.separator);
      auto word = from.rule.trim ? trimmed(rest.substr(0, end)) : rest.substr(0, end);
      if (!is_null(word))
        words.push_back(word_of(from, std::string{word}));
      if (end == std::string_view::npos)
        return words;
      rest.remove_prefix(end + from.rule.separator.size());
    }
  }

  /// A value of JSON in the type it has there.
  static std::optional<attribute_value> natural(dom::element from) {
    switch (from.type()) {
    case dom::element_type::NULL_VALUE:
      return std::nullopt;
    case dom::element_type::BOOL:
      return from.get_bool().value_unsafe();
    case dom::element_type::INT64:
      return static_cast<double>(from.get_int64().value_unsafe());
    case dom::element_type::UINT64:
      return static_cast<double>(from.get_uint64().value_unsafe());
    case dom::element_type::DOUBLE:
      return from.get_double().value_unsafe();
    case dom::element_type::ARRAY:
      return list_of(from.get_array().value_unsafe());
    default: {
      std::string text;
      append_element(from, text);
      return text;
    }
    }
  }

  void add_attribute(const bound_source& from, record& to) {
    std::optional<attribute_value> value;
    auto take = [&](auto&& found) {
      if (found)
        value = std::move(*found);
    };
    switch (from.rule.type) {
    case value_type::number:
      take(number_of(from));
      break;
    case value_type::flag:
      take(flag_of(from));
      break;
    case value_type::list:
      take(list_of(from));
      break;
    case value_type::time:
      if (auto at = time_of(from))
        value = static_cast<double>(micros_of(*at)) / 1e6;
      break;
    case value_type::natural:
      if (format != file_format::csv && from.parts.size() == 1 && from.parts[0].of == part::from::column)
        if (auto found = look(from.parts[0].column, from.rule.trim); found.is == cell::state::json) {
          value = natural(found.json);
          break;
        }
      [[fallthrough]];
    case value_type::text:
      if (std::string text; text_of(from, text))
        value = std::move(text);
      break;
    }
    if (value)
      to.attributes.push_back({from.name, std::move(*value)});
  }

  void add_attributes(const bound_column& from, record& to) {
    auto found = look(from, true);
    if (found.is == cell::state::missing)
      return;
    dom::object members;
    auto bad = found.is == cell::state::text
                   ? inner_parser.parse(found.text.data(), found.text.size()).get(members)
                   : found.json.get(members);
    if (bad != simdjson::SUCCESS)
      return refuse("parse", from.name, fmt::format("{} is not a JSON object", from.name));
    for (auto [key, value] : members)
      if (auto natural_value = natural(value))
        to.attributes.push_back({std::string{key}, std::move(*natural_value)});
  }

  bool holds(const bound_condition& each) {
    auto found = look(each.column, trim);
    bool there = found.is != cell::state::missing;
    scratch.clear();
    if (there)
      append(found, scratch);
    auto& words = each.rule.words;
    bool among = there && std::find(words.begin(), words.end(), scratch) != words.end();
    switch (each.rule.is) {
    case condition::test::equals:
    case condition::test::one_of:
      return among;
    case condition::test::not_equals:
      return !among;
    case condition::test::not_empty:
      return there;
    case condition::test::empty:
      return !there;
    }
    return false;
  }

  void append_position(std::string& to) const {
    auto content = hash_wide(row->bytes);
    std::uint64_t parts[] = {file_hash, row->number, content.high, content.low};
    auto hash = hash_wide(byte_view{reinterpret_cast<const std::byte*>(parts), sizeof parts});
    constexpr char digits[] = "0123456789abcdef";
    for (auto half : {hash.high, hash.low})
      for (int shift = 60; shift >= 0; shift -= 4)
        to += digits[(half >> shift) & 15];
  }

  void make_id(const bound_record& rule, std::size_t index, record& to) {
    if (rule.id && text_of(*rule.id, to.id))
      return;
    to.id.clear();
    if (rule.id_parts.empty()) {
      append_position(to.id);
    } else {
      to.id = to_string(to.kind);
      if (rule.position) {
        to.id += ':';
        append_position(to.id);
      }
      for (auto& each : rule.id_parts) {
        if (!text_of(each, scratch))
          return refuse("required", "id", fmt::format("id is missing: {} is empty", described(each)));
        to.id += ':';
        for (char letter : scratch) { // So that a:b, c and a, b:c stay two.
          if (letter == ':' || letter == '\\')
            to.id += '\\';
          to.id += letter;
        }
      }
    }
    if (rule.position || index > 0)
      fmt::format_to(std::back_inserter(to.id), "-{}", index);
    if (to.id.size() > 256)
      to.id = to_hex(hash_wide(to.id));
  }

  void text_field(const std::optional<bound_source>& from, std::string& to, std::string_view field,
                  bool needed) {
    if ((!from || !text_of(*from, to)) && needed)
      refuse("required", field,
             fmt::format("{} is missing: {}", field,
                         from ? described(*from) + " is empty" : "no column gives it"));
  }

  /// Fills a record from the row at hand; what is wrong is in `wrong`.
  void make(const bound_record& rule, std::size_t index, record& to) {
    if (rule.kind) {
      to.kind = *rule.kind;
    } else {
      if (!text_of(*rule.kind_from, scratch))
        return refuse("required", "kind",
                      fmt::format("kind is missing: {} is empty", described(*rule.kind_from)));
      if (scratch == "event")
        to.kind = record_kind::event;
      else if (scratch == "user")
        to.kind = record_kind::user;
      else if (scratch == "item")
        to.kind = record_kind::item;
      else
        return refuse("parse", "kind", fmt::format("{} is not event, user or item", shown(scratch)));
    }
    bool event = to.kind == record_kind::event;
    text_field(rule.type, to.type, "type", event);
    text_field(rule.user, to.user, "user", to.kind != record_kind::item);
    text_field(rule.item, to.item, "item", to.kind != record_kind::user);
    text_field(rule.request_id, to.request_id, "request_id", false);
    if (!event)
      to.type.clear();
    if (to.kind == record_kind::user)
      to.item.clear();
    if (to.kind == record_kind::item)
      to.user.clear();
    std::optional<timestamp> at;
    if (rule.event_time)
      at = time_of(*rule.event_time);
    if (at)
      to.event_time = *at;
    else if (event)
      refuse("required", "event_time",
             fmt::format("event_time is missing: {}",
                         rule.event_time ? described(*rule.event_time) + " is empty" : "no column gives it"));
    if (rule.value)
      to.value = number_of(*rule.value);
    for (auto& each : rule.attributes)
      add_attribute(each, to);
    for (auto& each : rule.attribute_maps)
      add_attributes(each, to);
    normalise(to);
    make_id(rule, index, to);
  }

  outcome apply(const raw_row& from, std::vector<record>& out, std::vector<refused_row>& refusals) {
    row = &from;
    wrong = from.refused;
    auto before = out.size();
    if (!wrong && format != file_format::csv)
      if (auto bad = parser.parse(from.text.data(), from.text.size()).get(object); bad != simdjson::SUCCESS)
        refuse("parse", "",
               bad == simdjson::INCORRECT_TYPE
                   ? std::string{"the row is not a JSON object"}
                   : fmt::format("the row is not JSON: {}", simdjson::error_message(bad)));
    for (std::size_t i = 0; !wrong && i < records.size(); ++i) {
      auto& rule = records[i];
      if (std::all_of(rule.when.begin(), rule.when.end(), [&](auto& each) { return holds(each); }))
        make(rule, i, out.emplace_back());
    }
    if (wrong) {
      out.resize(before);
      refusals.push_back({from.number, from.offset, std::move(*wrong), std::string{from.bytes}});
      return outcome::refused;
    }
    return out.size() > before ? outcome::mapped : outcome::skipped;
  }
};

row_mapper::row_mapper(std::unique_ptr<state> from) : state_{std::move(from)} {}
row_mapper::row_mapper(row_mapper&&) noexcept = default;
row_mapper& row_mapper::operator=(row_mapper&&) noexcept = default;
row_mapper::~row_mapper() = default;

row_mapper::outcome row_mapper::apply(const raw_row& row, std::vector<record>& records,
                                      std::vector<refused_row>& refusals) {
  return state_->apply(row, records, refusals);
}

row_mapper::outcome row_mapper::replay(std::string_view bytes, std::uint64_t number,
                                       std::vector<record>& records, std::vector<refused_row>& refusals) {
  raw_row row;
  row.bytes = bytes;
  row.number = number;
  std::vector<std::string_view> fields;
  std::deque<std::string> made;
  if (state_->format == file_format::csv)
    row.refused = state_->decoder.split(bytes, state_->columns, fields, made);
  else
    row.refused = state_->decoder.to_utf8(bytes, row.text, made);
  row.fields = fields;
  return state_->apply(row, records, refusals);
}

namespace {

/// Finds the columns of the rules in those of a file, and notes the ones that are not there.
class binder {
public:
  binder(file_format format, const std::vector<std::string>& columns, const std::filesystem::path& path)
      : format_{format}, columns_{columns}, path_{std::filesystem::absolute(path).lexically_normal()} {}

  bound_column column(const std::string& name, bool optional) {
    bound_column made{name, absent_column, {}};
    for (std::size_t at = 0; at <= name.size();) {
      auto end = std::min(name.find('.', at), name.size());
      made.path.push_back(name.substr(at, end - at));
      at = end + 1;
    }
    auto has = [&](const std::string& wanted) {
      auto found = std::find(columns_.begin(), columns_.end(), wanted);
      if (found != columns_.end())
        made.index = static_cast<std::size_t>(found - columns_.begin());
      return found != columns_.end();
    };
    bool there = format_ == file_format::json_lines || has(name) ||
                 (format_ == file_format::parquet && has(made.path.front()));
    if (!there && !optional && std::find(missing_.begin(), missing_.end(), name) == missing_.end())
      missing_.push_back(name);
    return made;
  }

  bound_source source(const rules::source& rule, std::string_view name) {
    bound_source made{rule, std::string{name}, {}, {}};
    for (auto& each : rule.parts) {
      bound_part one{each.of, each.text, {}};
      if (each.of == part::from::column)
        one.column = column(each.text, rule.optional);
      else if (each.of == part::from::path)
        one.text = path_part(each.depth);
      made.parts.push_back(std::move(one));
    }
    for (auto& each : rule.flags) {
      auto word = rule.words.find(each);
      made.flags.emplace_back(column(each, rule.optional), word == rule.words.end() ? each : word->second);
    }
    return made;
  }

  std::optional<bound_source> source(const std::optional<rules::source>& rule, std::string_view name) {
    return rule ? std::optional{source(*rule, name)} : std::nullopt;
  }

  bound_record record(const record_rule& rule) {
    bound_record made;
    made.kind = rule.kind;
    made.kind_from = source(rule.kind_from, "kind");
    made.position = rule.id.position;
    for (auto& each : rule.id.parts)
      made.id_parts.push_back(source(each, "id"));
    made.id = source(rule.id.given, "id");
    made.type = source(rule.type, "type");
    made.user = source(rule.user, "user");
    made.item = source(rule.item, "item");
    made.event_time = source(rule.event_time, "event_time");
    made.value = source(rule.value, "value");
    made.request_id = source(rule.request_id, "request_id");
    for (auto& [name, each] : rule.attributes)
      made.attributes.push_back(source(each, name));
    for (auto& each : rule.attribute_maps)
      made.attribute_maps.push_back(column(each, true));
    for (auto& each : rule.when)
      made.when.push_back({each, column(each.column, each.optional)});
    return made;
  }

  const std::vector<std::string>& missing() const noexcept { return missing_; }

private:
  std::string path_part(std::size_t depth) const {
    if (depth == 0)
      return without_compression(path_);
    auto at = path_;
    for (std::size_t i = 0; i < depth; ++i)
      at = at.parent_path();
    return at.filename().string();
  }

  file_format format_;
  const std::vector<std::string>& columns_;
  std::filesystem::path path_;
  std::vector<std::string> missing_;
};

} // namespace

expected<std::shared_ptr<const mapping>> mapping::parse(std::string_view toml, std::string_view name) {
  TROUPE_TRY(files, parse_rules(toml, name));
  auto made = std::make_shared<mapping>();
  made->name_ = name;
  made->files_ = std::move(files);
  return std::shared_ptr<const mapping>{std::move(made)};
}

std::shared_ptr<const mapping> mapping::native() {
  static const auto made = parse(find_shipped_mapping("native").value_or(""), "native").value();
  return made;
}

std::optional<std::size_t> mapping::match(const std::filesystem::path& path, bool named) const {
  for (std::size_t i = 0; i < files_.size(); ++i)
    for (auto& pattern : files_[i].patterns)
      if (matches(path, pattern))
        return i;
  return named && files_.size() == 1 ? std::optional<std::size_t>{0} : std::nullopt;
}

std::string mapping::patterns() const {
  std::string text;
  for (auto& file : files_)
    for (auto& pattern : file.patterns)
      text += (text.empty() ? "" : ", ") + pattern;
  return text;
}

expected<row_mapper> mapping::bind(std::size_t file, const std::filesystem::path& path,
                                   const source_reader& reader) const {
  return bind(file, path, reader.format(), reader.columns());
}

expected<row_mapper> mapping::bind(std::size_t file, const std::filesystem::path& path, file_format format,
                                   const std::vector<std::string>& columns) const {
  if (file >= files_.size())
    return fail(ec::internal, "mapping {} has no [[file]] {}", name_, file);
  auto& rule = files_[file];
  binder at{format, columns, path};
  auto made = std::make_unique<row_mapper::state>(rule.options);
  for (auto& each : rule.records)
    made->records.push_back(at.record(each));
  if (!at.missing().empty())
    return fail(ec::invalid_argument, "mapping {} does not fit {}: it lacks {}; its columns are {}", name_,
                path.string(), fmt::join(at.missing(), ", "), fmt::join(columns, ", "));
  made->format = format;
  made->columns = columns;
  made->null_tokens = rule.null_tokens;
  made->only_empty_is_null =
      std::all_of(rule.null_tokens.begin(), rule.null_tokens.end(), [](auto& each) { return each.empty(); });
  made->trim = rule.trim;
  made->file_hash = hash64(without_compression(path));
  return row_mapper{std::move(made)};
}

} // namespace troupe::ingest
