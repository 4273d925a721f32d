#include "services/feature_store/views/view.hpp"

#include "services/feature_store/operators/operator.hpp"
#include "services/feature_store/views/view_toml.hpp"

#include "common/core/file.hpp"
#include "common/core/hash.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace troupe::feature_store {

expected<void> check_keys(const toml::table& table, std::initializer_list<std::string_view> known,
                          std::string_view where) {
  for (auto&& [key, node] : table)
    if (std::find(known.begin(), known.end(), key.str()) == known.end())
      return fail(ec::invalid_argument, "{}: unknown key {}", where, key.str());
  return {};
}

expected<std::optional<std::string>> text_key(const toml::table& table, std::string_view key,
                                              std::string_view where) {
  auto node = table.get(key);
  if (!node)
    return std::nullopt;
  if (auto text = node->value_exact<std::string>())
    return *text;
  return fail(ec::invalid_argument, "{}: {} must be text", where, key);
}

expected<std::optional<std::chrono::microseconds>> span_key(const toml::table& table, std::string_view key,
                                                            std::string_view where) {
  TROUPE_TRY(text, text_key(table, key, where));
  if (!text)
    return std::nullopt;
  auto span = parse_duration(*text);
  if (!span)
    return fail(ec::invalid_argument, "{}: {}: {}", where, key, span.error().text);
  if (*span <= std::chrono::microseconds{0})
    return fail(ec::invalid_argument, "{}: {} must be more than 0", where, key);
  return *span;
}

expected<field> parse_field(std::string_view text, std::string_view where) {
  if (text == "value")
    return field{field::part::value, {}};
  if (text == "item")
    return field{field::part::item, {}};
  if (text == "user")
    return field{field::part::user, {}};
  if (text == "type")
    return field{field::part::type, {}};
  for (std::string_view prefix : {"context.", "attribute."})
    if (text.starts_with(prefix) && text.size() > prefix.size())
      return field{field::part::context, std::string{text.substr(prefix.size())}};
  return fail(ec::invalid_argument,
              "{}: '{}' is not a part of a record; use value, item, user, type or context.NAME", where, text);
}

namespace {

bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

/// Keys of a feature beside those that its operator takes.
constexpr std::array<std::string_view, 3> keys_of_all{"name", "operator", "where"};

expected<feature_definition> parse_feature(const toml::table& table, const feature_view& view,
                                           const std::string& origin) {
  TROUPE_TRY(name, text_key(table, "name", origin));
  if (!name || !valid_name(*name))
    return fail(ec::invalid_argument, "{}: a feature needs a name of letters, digits, - and _", origin);
  std::string where = fmt::format("{}: feature {}", origin, *name);
  feature_definition def;
  def.name = *name;
  TROUPE_TRY(op, text_key(table, "operator", where));
  def.op = find_operator(op.value_or(""));
  if (!def.op) {
    std::vector<std::string_view> known;
    for (auto* each : all_operators())
      known.push_back(each->name());
    return fail(ec::invalid_argument, "{}: operator '{}' is not one of {}", where, op.value_or(""),
                fmt::join(known, ", "));
  }
  for (auto&& [key, node] : table)
    if (std::ranges::find(keys_of_all, key.str()) == keys_of_all.end() && !def.op->takes(key.str()))
      return fail(ec::invalid_argument, "{}: operator {} takes no {}", where, *op, key.str());
  if (!def.op->of_entity() && view.sources.empty())
    return fail(ec::invalid_argument, "{}: operator {} needs a source, event types", where, *op);
  TROUPE_CHECK(def.op->parse(table, view, where, def));
  TROUPE_TRY(predicates, parse_where(table, where));
  def.where = std::move(predicates);
  return def;
}

expected<feature_view> parse_view(const toml::table& table, std::string_view origin) {
  feature_view view;
  TROUPE_TRY(name, text_key(table, "name", origin));
  if (!name || !valid_name(*name))
    return fail(ec::invalid_argument, "{}: a view needs a name of letters, digits, - and _", origin);
  view.name = *name;
  std::string where = fmt::format("{}: view {}", origin, view.name);
  TROUPE_CHECK(check_keys(table, {"name", "entity", "source", "ttl", "feature"}, where));
  TROUPE_TRY(entity, text_key(table, "entity", where));
  if (entity != "user" && entity != "item")
    return fail(ec::invalid_argument, "{}: entity must be \"user\" or \"item\"", where);
  view.entity = *entity == "user" ? entity_kind::user : entity_kind::item;
  if (auto source = table.get("source")) {
    if (auto one = source->value_exact<std::string>())
      view.sources.push_back(*one);
    else if (auto many = source->as_array())
      for (auto& each : *many) {
        auto type = each.value_exact<std::string>();
        if (!type)
          return fail(ec::invalid_argument, "{}: source must be event types", where);
        view.sources.push_back(*type);
      }
    else
      return fail(ec::invalid_argument, "{}: source must be an event type or a list of them", where);
  }
  std::sort(view.sources.begin(), view.sources.end());
  view.sources.erase(std::unique(view.sources.begin(), view.sources.end()), view.sources.end());
  TROUPE_TRY(ttl, span_key(table, "ttl", where));
  view.ttl = ttl;
  auto features = table["feature"].as_array();
  if (!features || features->empty())
    return fail(ec::invalid_argument, "{}: a view needs at least one [[view.feature]]", where);
  for (auto& each : *features) {
    auto inner = each.as_table();
    if (!inner)
      return fail(ec::invalid_argument, "{}: feature must be a table", where);
    TROUPE_TRY(def, parse_feature(*inner, view, where));
    if (std::any_of(view.features.begin(), view.features.end(),
                    [&](auto& other) { return other.name == def.name; }))
      return fail(ec::invalid_argument, "{}: feature {} stands twice", where, def.name);
    view.features.push_back(std::move(def));
  }
  std::sort(view.features.begin(), view.features.end(), [](auto& a, auto& b) { return a.name < b.name; });
  view.version = sha256_hex(as_bytes(view.canonical()));
  return view;
}

std::string toml_text(std::string_view text) {
  std::string out = "\"";
  for (char c : text)
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else
      out += c;
  return out += '"';
}

} // namespace

feature_view record_view(entity_kind entity) {
  feature_view view;
  view.name = fmt::format("{}_record", to_string(entity));
  view.entity = entity;
  feature_definition attributes;
  attributes.name = "attributes";
  attributes.op = find_operator("record");
  attributes.type = value_type::text;
  view.features.push_back(std::move(attributes));
  view.version = sha256_hex(as_bytes(view.canonical()));
  return view;
}

std::string_view to_string(entity_kind kind) noexcept {
  return kind == entity_kind::user ? "user" : "item";
}

std::string_view to_string(value_type type) noexcept {
  return type == value_type::number ? "number" : type == value_type::text ? "text" : "list";
}

std::string to_string(const field& what) {
  switch (what.of) {
  case field::part::none:
    return "";
  case field::part::value:
    return "value";
  case field::part::item:
    return "item";
  case field::part::user:
    return "user";
  case field::part::type:
    return "type";
  case field::part::context:
    return "context." + what.name;
  }
  return "";
}

std::string feature_view::canonical() const {
  std::string out =
      fmt::format("[[view]]\nname = {}\nentity = \"{}\"\nsource = [", toml_text(name), to_string(entity));
  for (auto& each : sources)
    out += (&each == &sources.front() ? "" : ", ") + toml_text(each);
  out += "]\n";
  if (ttl)
    out += fmt::format("ttl = \"{}us\"\n", ttl->count());
  for (auto& each : features) {
    out += fmt::format("[[view.feature]]\nname = {}\noperator = \"{}\"\n", toml_text(each.name),
                       each.op->name());
    if (each.of.of != field::part::none)
      out += fmt::format("of = {}\n", toml_text(to_string(each.of)));
    if (each.window)
      out += fmt::format("window = \"{}us\"\n", each.window->count());
    if (each.hop.count())
      out += fmt::format("hop = \"{}us\"\n", each.hop.count());
    if (each.half_life.count())
      out += fmt::format("half_life = \"{}us\"\n", each.half_life.count());
    if (each.n)
      out += fmt::format("n = {}\n", each.n);
    if (!each.numerator.empty())
      out += fmt::format("numerator = {}\ndenominator = {}\n", toml_text(each.numerator),
                         toml_text(each.denominator));
    if (each.op->takes("type"))
      out += fmt::format("type = \"{}\"\n", to_string(each.type));
    if (!each.where.empty()) {
      std::set<std::string> sorted;
      for (auto& cond : each.where)
        sorted.insert(toml_text(to_string(cond.what)) + " = " +
                      std::visit(
                          [](auto& value) {
                            if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>)
                              return toml_text(value);
                            else
                              return fmt::format("{}", value);
                          },
                          cond.equals));
      out += fmt::format("where = {{ {} }}\n", fmt::join(sorted, ", "));
    }
  }
  return out;
}

std::optional<std::uint32_t> feature_view::find(std::string_view feature) const noexcept {
  auto at =
      std::lower_bound(features.begin(), features.end(), feature, [](auto& a, auto b) { return a.name < b; });
  if (at == features.end() || at->name != feature)
    return std::nullopt;
  return static_cast<std::uint32_t>(at - features.begin());
}

expected<std::vector<field_predicate>> parse_where(const toml::table& table, std::string_view where) {
  std::vector<field_predicate> all;
  auto node = table.get("where");
  if (!node)
    return all;
  auto conditions = node->as_table();
  if (!conditions)
    return fail(ec::invalid_argument,
                "{}: where must be a table, as where = {{ \"context.device\" = \"mobile\" }}", where);
  for (auto&& [key, value] : *conditions) {
    TROUPE_TRY(what, parse_field(key.str(), where));
    field_predicate each{what, {}};
    if (auto text = value.value_exact<std::string>())
      each.equals = *text;
    else if (auto flag = value.value_exact<bool>())
      each.equals = *flag;
    else if (auto number = value.value<double>(); number && value.is_number())
      each.equals = *number;
    else
      return fail(ec::invalid_argument, "{}: where {} must equal text, a number or a flag", where, key.str());
    all.push_back(std::move(each));
  }
  return all;
}

bool feature_view::has_source(std::string_view type) const noexcept {
  for (auto& each : sources)
    if (each == type)
      return true;
  return false;
}

expected<std::vector<feature_view>> parse_views(std::string_view toml, std::string_view origin) {
  toml::table root;
  try {
    root = toml::parse(toml, origin);
  } catch (const toml::parse_error& err) {
    return fail(ec::invalid_argument, "cannot read {}: line {}, column {}: {}", origin,
                err.source().begin.line, err.source().begin.column, err.description());
  }
  TROUPE_CHECK(check_keys(root, {"view"}, origin));
  auto views = root["view"].as_array();
  if (!views || views->empty())
    return fail(ec::invalid_argument, "{}: there is no [[view]]", origin);
  std::vector<feature_view> all;
  for (auto& each : *views) {
    auto table = each.as_table();
    if (!table)
      return fail(ec::invalid_argument, "{}: view must be a table", origin);
    TROUPE_TRY(view, parse_view(*table, origin));
    if (std::any_of(all.begin(), all.end(), [&](auto& other) { return other.name == view.name; }))
      return fail(ec::invalid_argument, "{}: view {} stands twice", origin, view.name);
    all.push_back(std::move(view));
  }
  return all;
}

expected<std::vector<feature_view>> read_views(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> files;
  std::error_code code;
  if (std::filesystem::is_directory(path, code)) {
    for (auto& entry : std::filesystem::directory_iterator{path, code})
      if (entry.path().extension() == ".toml")
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(path);
  }
  if (code)
    return fail(ec::io_failed, "cannot list the views in {}: {}", path.string(), code.message());
  std::vector<feature_view> all;
  for (auto& file : files) {
    auto text = read_file(file);
    if (!text)
      return with_context("reading feature views", text.error());
    TROUPE_TRY(views, parse_views(*text, file.string()));
    for (auto& view : views) {
      for (auto entity : {entity_kind::user, entity_kind::item})
        if (view.name == record_view(entity).name)
          return fail(ec::invalid_argument, "{}: the name {} is that of a built-in view", file.string(),
                      view.name);
      if (std::any_of(all.begin(), all.end(), [&](auto& other) { return other.name == view.name; }))
        return fail(ec::invalid_argument, "{}: view {} stands in another file too", file.string(), view.name);
      all.push_back(std::move(view));
    }
  }
  return all;
}

} // namespace troupe::feature_store
