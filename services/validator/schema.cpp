#include "services/validator/schema.hpp"

#include "common/core/file.hpp"
#include "common/event/slate.hpp"

#include <re2/re2.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <sstream>

namespace troupe::validator {

namespace {

constexpr std::array<std::string_view, 7> type_names{"any",  "text", "number", "integer",
                                                     "flag", "list", "time"};
constexpr std::array<std::string_view, 6> op_names{"<", "<=", "==", "!=", ">=", ">"};
constexpr std::array<std::string_view, 6> core_fields{"id",         "user",  "item",
                                                      "event_time", "value", "request_id"};
constexpr std::int64_t max_pattern_memory = 8 << 20;

/// One table of the file being read, with what errors need.
struct reading {
  std::string_view origin;
  const toml::table& table;
  std::string what;

  std::string at(const toml::node& node) const {
    return fmt::format("{}:{}", origin, node.source().begin.line);
  }
  std::string at() const { return at(table); }

  expected<void> allow(std::initializer_list<std::string_view> keys) const {
    for (auto&& [key, node] : table)
      if (std::find(keys.begin(), keys.end(), key.str()) == keys.end())
        return fail(ec::invalid_argument, "{}:{}: unknown key '{}' in {}; known are {}", origin,
                    key.source().begin.line, key.str(), what, fmt::join(keys, ", "));
    return {};
  }

  template <class T>
  expected<std::optional<T>> find(std::string_view key, std::string_view expected_type) const {
    auto* node = table.get(key);
    if (!node)
      return std::optional<T>{};
    if (auto value = node->value_exact<T>())
      return std::optional<T>{std::move(*value)};
    return fail(ec::invalid_argument, "{}: {} of {} must be {}", at(*node), key, what, expected_type);
  }

  expected<std::optional<double>> find_number(std::string_view key) const {
    auto* node = table.get(key);
    if (!node)
      return std::optional<double>{};
    if (auto number = node->is_number() ? node->value<double>() : std::nullopt;
        number && std::isfinite(*number))
      return number;
    return fail(ec::invalid_argument, "{}: {} of {} must be a finite number", at(*node), key, what);
  }

  expected<std::optional<std::uint64_t>> find_length(std::string_view key) const {
    TROUPE_TRY(number, find<std::int64_t>(key, "a whole number"));
    if (number && *number < 0)
      return fail(ec::invalid_argument, "{}: {} of {} must not be negative", at(), key, what);
    return number ? std::optional{static_cast<std::uint64_t>(*number)} : std::nullopt;
  }
};

expected<timestamp> to_time(const toml::node& node, const std::string& where) {
  std::ostringstream text;
  if (auto* moment = node.as_date_time())
    text << moment->get();
  else if (auto* day = node.as_date())
    text << day->get();
  else if (auto* written = node.as_string())
    text << written->get();
  else
    return fail(ec::invalid_argument, "{}: a time is needed, such as 2024-01-31T00:00:00Z", where);
  auto at = parse_rfc3339(text.str());
  if (!at)
    return fail(ec::invalid_argument, "{}: {}", where, at.error().text);
  return *at;
}

expected<void> check_name(const reading& in, record_kind kind, std::string_view name) {
  if (!attribute_of(name).empty() || is_of_shown(kind, name) ||
      std::find(core_fields.begin(), core_fields.end(), name) != core_fields.end())
    return {};
  return fail(ec::invalid_argument,
              "{}: {} names '{}', which is no field; fields are {}, {}context.X and attributes.X", in.at(),
              in.what, name, fmt::join(core_fields, ", "),
              kind == record_kind::slate ? "position, propensity, " : "");
}

field_type natural_type(std::string_view name) noexcept {
  if (name == "event_time")
    return field_type::time;
  if (name == "value" || name == "position" || name == "propensity")
    return field_type::number;
  return attribute_of(name).empty() ? field_type::text : field_type::any;
}

expected<field_type> read_type(const reading& in, std::string_view name) {
  TROUPE_TRY(text, in.find<std::string>("type", "a text"));
  auto natural = natural_type(name);
  if (!text)
    return natural;
  auto at = std::find(type_names.begin(), type_names.end(), *text);
  if (at == type_names.end())
    return fail(ec::invalid_argument, "{}: type '{}' of {} is none of {}", in.at(), *text, in.what,
                fmt::join(type_names, ", "));
  auto type = static_cast<field_type>(at - type_names.begin());
  bool fits = natural == field_type::any || type == natural ||
              (natural == field_type::number && type == field_type::integer);
  if (!fits)
    return fail(ec::invalid_argument, "{}: {} is always {}, it cannot be {}", in.at(), name,
                to_string(natural), *text);
  return type;
}

expected<void> read_bounds(const reading& in, field_rule& to) {
  bool time = to.type == field_type::time;
  if (time) {
    for (auto [key, bound] : {std::pair{"min", &to.min_time}, {"max", &to.max_time}})
      if (auto* node = in.table.get(key)) {
        TROUPE_TRY(at, to_time(*node, fmt::format("{}: {} of {}", in.at(*node), key, in.what)));
        *bound = at;
      }
  } else {
    TROUPE_TRY(min, in.find_number("min"));
    TROUPE_TRY(max, in.find_number("max"));
    to.min = min;
    to.max = max;
    if ((min || max) && to.type != field_type::number && to.type != field_type::integer)
      return fail(
          ec::invalid_argument,
          "{}: min and max of {} need type number, integer or time; lengths are min_length and max_length",
          in.at(), in.what);
  }
  TROUPE_TRY(min_length, in.find_length("min_length"));
  TROUPE_TRY(max_length, in.find_length("max_length"));
  to.min_length = min_length;
  to.max_length = max_length;
  if ((min_length || max_length) && to.type != field_type::text && to.type != field_type::list)
    return fail(ec::invalid_argument, "{}: min_length and max_length of {} need type text or list", in.at(),
                in.what);
  if ((to.min && to.max && *to.min > *to.max) ||
      (to.min_time && to.max_time && *to.min_time > *to.max_time) ||
      (min_length && max_length && *min_length > *max_length))
    return fail(ec::invalid_argument, "{}: the lower bound of {} is above the upper one", in.at(), in.what);
  return {};
}

expected<void> read_set(const reading& in, field_rule& to) {
  auto* node = in.table.get("one_of");
  if (!node)
    return {};
  auto* list = node->as_array();
  if (!list || list->empty())
    return fail(ec::invalid_argument, "{}: one_of of {} must be a list with at least one value", in.at(*node),
                in.what);
  bool numbers = to.type == field_type::number || to.type == field_type::integer;
  bool texts = to.type == field_type::text || to.type == field_type::list;
  for (auto& each : *list)
    if (each.is_number() && numbers)
      to.one_of_numbers.push_back(*each.value<double>());
    else if (each.is_string() && texts)
      to.one_of_texts.push_back(*each.value<std::string>());
    else
      return fail(ec::invalid_argument,
                  "{}: one_of of {} needs texts for type text or list, numbers for type number or integer",
                  in.at(*node), in.what);
  return {};
}

expected<field_rule> read_field(std::string_view origin, const toml::table& table, record_kind kind,
                                std::string_view owner) {
  reading in{origin, table, fmt::format("[[schema.field]] of {}", owner)};
  TROUPE_CHECK(in.allow({"name", "type", "required", "min", "max", "min_length", "max_length", "one_of",
                         "pattern", "unique", "max_null_rate"}));
  TROUPE_TRY(name, in.find<std::string>("name", "a text"));
  if (!name)
    return fail(ec::invalid_argument, "{}: {} has no name", in.at(), in.what);
  TROUPE_CHECK(check_name(in, kind, *name));
  in.what = fmt::format("field {}", *name);
  field_rule to;
  to.name = *name;
  TROUPE_TRY(type, read_type(in, to.name));
  to.type = type;
  TROUPE_TRY(required, in.find<bool>("required", "true or false"));
  to.required = required.value_or(false);
  TROUPE_CHECK(read_bounds(in, to));
  TROUPE_CHECK(read_set(in, to));
  TROUPE_TRY(pattern, in.find<std::string>("pattern", "a text"));
  if (pattern) {
    if (to.type != field_type::text && to.type != field_type::list)
      return fail(ec::invalid_argument, "{}: pattern of {} needs type text or list", in.at(), in.what);
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(max_pattern_memory);
    if (RE2 compiled{*pattern, options}; !compiled.ok())
      return fail(ec::invalid_argument, "{}: pattern '{}' of {} is not a regular expression of RE2: {}",
                  in.at(), *pattern, in.what, compiled.error());
    to.pattern = *pattern;
  }
  TROUPE_TRY(unique, in.find<bool>("unique", "true or false"));
  to.unique = unique.value_or(false);
  if (to.unique && (to.type == field_type::list || to.type == field_type::flag))
    return fail(ec::invalid_argument, "{}: a {} cannot be unique", in.at(), to_string(to.type));
  TROUPE_TRY(null_rate, in.find_number("max_null_rate"));
  to.max_null_rate = null_rate;
  if (null_rate && (*null_rate < 0 || *null_rate > 1))
    return fail(ec::invalid_argument, "{}: max_null_rate of {} is {}, it must lie in 0..1", in.at(), in.what,
                *null_rate);
  if ((to.unique || null_rate) && is_of_shown(kind, to.name))
    return fail(ec::invalid_argument,
                "{}: unique and max_null_rate are of records; {} of a slate is one of each item shown",
                in.at(), to.name);
  return to;
}

expected<compare_rule> read_compare(std::string_view origin, const toml::table& table, record_kind kind,
                                    std::string_view owner) {
  reading in{origin, table, fmt::format("[[schema.compare]] of {}", owner)};
  TROUPE_CHECK(in.allow({"left", "op", "right", "constant"}));
  TROUPE_TRY(left, in.find<std::string>("left", "the name of a field"));
  TROUPE_TRY(op, in.find<std::string>("op", "a text"));
  TROUPE_TRY(right, in.find<std::string>("right", "the name of a field"));
  auto* constant = table.get("constant");
  if (!left || !op || right.has_value() == (constant != nullptr))
    return fail(ec::invalid_argument,
                "{}: {} needs left, op, and one of right (a field) and constant (a value)", in.at(), in.what);
  TROUPE_CHECK(check_name(in, kind, *left));
  compare_rule to;
  to.left = *left;
  auto at = std::find(op_names.begin(), op_names.end(), *op);
  if (at == op_names.end())
    return fail(ec::invalid_argument, "{}: op '{}' of {} is none of {}", in.at(), *op, in.what,
                fmt::join(op_names, " "));
  to.op = static_cast<compare_op>(at - op_names.begin());
  if (right) {
    TROUPE_CHECK(check_name(in, kind, *right));
    to.right = compare_rule::field{*right};
  } else if (constant->is_number()) {
    to.right = *constant->value<double>();
  } else if (constant->is_boolean()) {
    to.right = *constant->value<bool>();
  } else if (constant->is_string()) {
    to.right = *constant->value<std::string>();
  } else {
    TROUPE_TRY(time, to_time(*constant, fmt::format("{}: constant", in.at(*constant))));
    to.right = time;
  }
  return to;
}

// The family of types that can be compared with each other.
int family(field_type type) noexcept {
  return type == field_type::integer ? static_cast<int>(field_type::number) : static_cast<int>(type);
}

field_type type_in(const schema& of, std::string_view name) {
  auto at = std::find_if(of.fields.begin(), of.fields.end(), [&](auto& each) {
    return each.name == name ||
           (!attribute_of(name).empty() && attribute_of(each.name) == attribute_of(name));
  });
  return at == of.fields.end() ? natural_type(name) : at->type;
}

expected<void> check_compare(const reading& in, const schema& of, const compare_rule& rule) {
  auto left = type_in(of, rule.left);
  constexpr std::array constants{field_type::any, field_type::number, field_type::time, field_type::text,
                                 field_type::flag};
  auto right =
      rule.right.index() == 0 ? type_in(of, std::get<0>(rule.right).name) : constants[rule.right.index()];
  if (left == field_type::list || right == field_type::list)
    return fail(ec::invalid_argument, "{}: compare of {}: a list cannot be compared", in.at(), rule.left);
  if (left != field_type::any && right != field_type::any && family(left) != family(right))
    return fail(ec::invalid_argument, "{}: compare of {}: {} and {} cannot be compared", in.at(), rule.left,
                to_string(left), to_string(right));
  if ((left == field_type::flag || right == field_type::flag) && rule.op != compare_op::equal &&
      rule.op != compare_op::not_equal)
    return fail(ec::invalid_argument, "{}: compare of {}: flags can only be compared by == and !=", in.at(),
                rule.left);
  return {};
}

template <class Read, class Into>
expected<void> read_tables(const reading& in, std::string_view key, Into& into, Read&& read) {
  auto* node = in.table.get(key);
  if (!node)
    return {};
  auto* list = node->as_array();
  if (!list || !std::all_of(list->begin(), list->end(), [](auto& each) { return each.is_table(); }))
    return fail(ec::invalid_argument, "{}: write [[schema.{}]], once for each", in.at(*node), key);
  for (auto& each : *list) {
    TROUPE_TRY(made, read(*each.as_table()));
    into.push_back(std::move(made));
  }
  return {};
}

expected<schema> read_schema(std::string_view origin, const toml::table& table) {
  reading in{origin, table, "[[schema]]"};
  TROUPE_CHECK(in.allow({"name", "kind", "type", "closed", "max_ahead", "field", "compare"}));
  TROUPE_TRY(kind, in.find<std::string>("kind", "event, slate, user or item"));
  schema to;
  constexpr std::array kinds{record_kind::event, record_kind::slate, record_kind::user, record_kind::item};
  auto named = std::ranges::find(kinds, kind.value_or(""), [](auto each) { return to_string(each); });
  if (named == kinds.end())
    return fail(ec::invalid_argument,
                "{}: kind of [[schema]] must be \"event\", \"slate\", \"user\" or \"item\"", in.at());
  to.kind = *named;
  TROUPE_TRY(type, in.find<std::string>("type", "a text"));
  to.type = type;
  if (type && to.kind != record_kind::event)
    return fail(ec::invalid_argument, "{}: only events have a type, {}s have none", in.at(), *kind);
  TROUPE_TRY(name, in.find<std::string>("name", "a text"));
  to.name = name.value_or(type ? fmt::format("{}/{}", *kind, *type) : *kind);
  in.what = fmt::format("schema {}", to.name);
  TROUPE_TRY(closed, in.find<bool>("closed", "true or false"));
  to.closed = closed.value_or(false);
  TROUPE_TRY(ahead, in.find<std::string>("max_ahead", "a duration such as \"1h\""));
  if (ahead) {
    auto span = parse_duration(*ahead);
    if (!span)
      return fail(ec::invalid_argument, "{}: max_ahead of {}: {}", in.at(), in.what, span.error().text);
    to.max_ahead = *span;
  }
  TROUPE_CHECK(read_tables(in, "field", to.fields,
                           [&](auto& each) { return read_field(origin, each, to.kind, to.name); }));
  TROUPE_CHECK(read_tables(in, "compare", to.compares,
                           [&](auto& each) { return read_compare(origin, each, to.kind, to.name); }));
  for (std::size_t i = 0; i < to.fields.size(); ++i)
    for (std::size_t k = 0; k < i; ++k)
      if (auto& a = to.fields[i].name;
          a == to.fields[k].name ||
          (!attribute_of(a).empty() && attribute_of(a) == attribute_of(to.fields[k].name)))
        return fail(ec::invalid_argument, "{}: {} has two fields {}", in.at(), in.what, a);
  for (auto& each : to.compares)
    TROUPE_CHECK(check_compare(in, to, each));
  return to;
}

} // namespace

std::string_view to_string(field_type type) noexcept {
  return type_names[static_cast<std::size_t>(type)];
}

std::string_view to_string(compare_op op) noexcept {
  return op_names[static_cast<std::size_t>(op)];
}

std::string_view attribute_of(std::string_view field) noexcept {
  for (std::string_view prefix : {"context.", "attributes."})
    if (field.size() > prefix.size() && field.substr(0, prefix.size()) == prefix)
      return field.substr(prefix.size());
  return {};
}

bool is_of_shown(record_kind kind, std::string_view field) noexcept {
  return kind == record_kind::slate && (field == "item" || field == "position" || field == "propensity");
}

std::vector<std::string> doubts_about(const std::vector<schema>& schemas) {
  std::vector<std::string> out;
  if (std::ranges::find(schemas, record_kind::slate, &schema::kind) != schemas.end())
    return out;
  for (auto& each : schemas)
    if (each.kind == record_kind::event && each.type == impression_type)
      out.push_back(
          fmt::format("schema {} holds for impressions that stand by themselves alone; the pages that the "
                      "gateway shows are slates: write a [[schema]] of kind = \"slate\" for them",
                      each.name));
  return out;
}

expected<std::vector<schema>> parse_schemas(std::string_view text, std::string_view origin) {
  toml::table root;
  try {
    root = toml::parse(text, origin);
  } catch (const toml::parse_error& err) {
    return fail(ec::invalid_argument, "{}:{}: {}", origin, err.source().begin.line, err.description());
  }
  reading in{origin, root, "a schema file"};
  TROUPE_CHECK(in.allow({"schema"}));
  std::vector<schema> all;
  TROUPE_CHECK(read_tables(in, "schema", all, [&](auto& each) { return read_schema(origin, each); }));
  if (all.empty())
    return fail(ec::invalid_argument, "{}: holds no [[schema]]", origin);
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t k = 0; k < i; ++k)
      if (all[i].kind == all[k].kind && all[i].type == all[k].type)
        return fail(ec::invalid_argument, "{}: schemas {} and {} are for the same records", origin,
                    all[k].name, all[i].name);
  return all;
}

expected<std::vector<schema>> read_schemas(const std::filesystem::path& file) {
  auto text = read_file(file);
  if (!text)
    return with_context("reading a schema file", text.error());
  return parse_schemas(*text, file.string());
}

} // namespace troupe::validator
