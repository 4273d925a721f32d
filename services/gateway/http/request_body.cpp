#include "services/gateway/http/request_body.hpp"

#include "common/core/hash.hpp"
#include "common/core/text_start.hpp"
#include "common/event/row.hpp"
#include "common/json/exact.hpp"
#include "common/json/identity.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <random>

namespace troupe::gateway {

namespace {

using kind_of = exact_value::kind;

constexpr std::size_t max_list = 10'000;

expected<std::string> text_in(std::string_view field, exact_value value) {
  if (!value.is(kind_of::text))
    return fail(ec::invalid_argument, "{} is {}, not a text", field, kind_name(value));
  return std::string{value.text()};
}

/// The name of a user or an item: one that no record may have is refused before an impression bears it.
expected<std::string> name_in(std::string_view field, exact_value value) {
  auto name = identity_of(value);
  if (!name)
    return fail(ec::invalid_argument, "{}: {}", field, name.error().text);
  if (name->size() > 1'024)
    return fail(ec::invalid_argument, "{} has {} bytes, more than 1024", field, name->size());
  if (holds_control(*name))
    return fail(ec::invalid_argument, "{} holds a control character (a line end, a tab...)", field);
  return std::string{*name};
}

expected<double> number_in(std::string_view field, exact_value value) {
  if (!value.is(kind_of::number))
    return fail(ec::invalid_argument, "{} is {}, not a number", field, kind_name(value));
  if (auto number = value.number())
    return *number;
  return fail(ec::invalid_argument, "{} is {}, more than a number can be", field,
              text_start(value.text(), 64));
}

expected<bool> flag_in(std::string_view field, exact_value value) {
  if (!value.is(kind_of::flag))
    return fail(ec::invalid_argument, "{} is {}, not true or false", field, kind_name(value));
  return value.text() == "true";
}

using read_one = expected<std::string> (*)(std::string_view field, exact_value value);

expected<std::vector<std::string>> list_in(std::string_view field, exact_value value, read_one read) {
  if (!value.is(kind_of::list))
    return fail(ec::invalid_argument, "{} is {}, not an array of texts", field, kind_name(value));
  std::vector<std::string> out;
  for (auto each : value) {
    if (out.size() == max_list)
      return fail(ec::invalid_argument, "{} has more than {} entries", field, max_list);
    TROUPE_TRY(text, read(field, each));
    out.push_back(std::move(text));
  }
  return out;
}

expected<std::vector<attribute>> attributes_in(std::string_view field, exact_value value) {
  if (!value.is(kind_of::object))
    return fail(ec::invalid_argument, "{} is {}, not an object", field, kind_name(value));
  std::vector<attribute> out;
  for (auto each : value) {
    if (each.is(kind_of::null))
      continue;
    auto read = read_attribute(each);
    if (!read)
      return fail(ec::invalid_argument, "{}.{} is not a finite number", field, text_start(each.key(), 64));
    out.push_back({std::string{each.key()}, std::move(*read)});
  }
  return out;
}

std::string random_id() {
  static thread_local std::mt19937_64 source{std::random_device{}()};
  return to_hex(hash128{source(), source()});
}

/// All that a record says, each part with its length, so that two records never meet.
std::string content_of(const record& rec, bool with_time) {
  std::string out;
  auto add = [&](std::string_view part) { out += fmt::format("{}:{},", part.size(), part); };
  add(to_string(rec.kind));
  add(rec.type);
  add(rec.user);
  add(rec.item);
  add(with_time ? std::to_string(micros_of(rec.event_time)) : "");
  add(rec.value ? fmt::format("{}", *rec.value) : "");
  add(rec.request_id);
  for (const auto& each : rec.attributes) {
    add(each.name);
    std::visit(
        [&](const auto& value) {
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, text_list>)
            for (const auto& word : value)
              add("l" + word);
          else
            add(fmt::format("{}", value));
        },
        each.value);
  }
  for (const auto& each : rec.shown)
    add(fmt::format("{}:{}:{}", each.position, each.propensity, each.item));
  return out;
}

void name_row(row& out, std::size_t number, const row_rules& rules) {
  if (!out.what.id.empty())
    return;
  auto prefix = to_string(out.what.kind).substr(0, 1);
  if (!rules.idempotency_key.empty())
    out.what.id = fmt::format(
        "{}k:{}", prefix,
        to_hex(hash_wide(fmt::format("{}:{},{},{}", rules.idempotency_key.size(), rules.idempotency_key,
                                     number, content_of(out.what, out.timed)))));
  else if (out.timed)
    out.what.id = fmt::format("{}c:{}", prefix, to_hex(hash_wide(content_of(out.what, true))));
  else {
    out.what.id = fmt::format("{}r:{}", prefix, random_id());
    out.named = false;
  }
}

/// `named`: the user or item that the address names, where it does.
row read_row(row_reader& by, exact_value from, std::size_t number, const row_rules& rules,
             std::string_view named = {}) {
  row out;
  auto& name = rules.kind == record_kind::item ? out.what.item : out.what.user;
  name = named;
  out.what.event_time = rules.now;
  if (auto wrong = by.read(from, rules.kind, out.what, out.timed)) {
    out.refused = std::move(wrong->reason);
    return out;
  }
  if (!named.empty() && name != named) {
    out.refused = fmt::format("{} in the body is not that of the address", to_string(rules.kind));
    return out;
  }
  name_row(out, number, rules);
  if (auto good = check(out.what); !good)
    out.refused = good.error().text;
  return out;
}

} // namespace

expected<std::vector<row>> parse_rows(std::string_view body, const row_rules& rules) {
  body = without_mark(body);
  auto first = body.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos)
    return fail(ec::invalid_argument, "the body is empty: a JSON array or JSON lines are expected");
  exact_document document;
  row_reader by;
  std::vector<row> out;
  auto too_many = [&] {
    return fail(ec::overloaded, "the body has more than the {} rows that one request may have",
                rules.max_rows);
  };
  if (body[first] == '[') {
    TROUPE_TRY(all, document.read(body));
    for (auto each : all) {
      if (out.size() == rules.max_rows)
        return too_many();
      out.push_back(read_row(by, each, out.size(), rules));
    }
    return out;
  }
  if (body[first] != '{')
    return fail(ec::invalid_argument, "the body is neither a JSON array nor JSON lines");
  if (auto whole = document.read(body)) {
    out.push_back(read_row(by, *whole, 0, rules));
    return out;
  }
  bool any = false;
  for (std::size_t number = 0; !body.empty();) {
    auto end = body.find('\n');
    auto line = body.substr(0, end);
    body.remove_prefix(end == std::string_view::npos ? body.size() : end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos)
      continue;
    if (out.size() == rules.max_rows)
      return too_many();
    auto value = document.read(line);
    any |= value.has_value();
    if (value)
      out.push_back(read_row(by, *value, number, rules));
    else
      out.emplace_back().refused = value.error().text;
    ++number;
  }
  if (!any)
    return fail(ec::invalid_argument, "{}", out.front().refused);
  return out;
}

expected<row> parse_entity(std::string_view body, std::string_view id, const row_rules& rules) {
  exact_document document;
  row_reader by;
  TROUPE_TRY(value, document.read(body));
  if (!value.is(kind_of::object))
    return fail(ec::invalid_argument, "the body is {}, not an object", kind_name(value));
  auto made = read_row(by, value, 0, rules, id);
  if (!made.refused.empty())
    return fail(ec::invalid_argument, "{}", made.refused);
  return made;
}

expected<std::uint32_t> parse_n(std::string_view text) {
  std::uint32_t n = 0;
  auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (err != std::errc{} || end != text.data() + text.size() || n < 1 || n > 1'000)
    return fail(ec::invalid_argument, "n is '{}', not 1 to 1000", text_start(text, 32));
  return n;
}

namespace {

constexpr std::array<std::string_view, 5> ops{"equals", "contains", "at_least", "at_most", "one_of"};

expected<std::uint8_t> op_of(std::string_view text) {
  auto found = std::ranges::find(ops, text);
  if (found == ops.end())
    return fail(ec::invalid_argument, "op is '{}', not equals, contains, at_least, at_most or one_of",
                text_start(text, 32));
  return static_cast<std::uint8_t>(found - ops.begin());
}

expected<filter> filter_in(exact_value from) {
  if (!from.is(kind_of::object))
    return fail(ec::invalid_argument, "a filter is {}, not an object", kind_name(from));
  filter out;
  bool op = false, given = false;
  std::string_view kind;
  for (auto value : from) {
    auto name = value.key();
    if (name == "attribute") {
      TROUPE_TRY(text, text_in(name, value));
      out.attribute = std::move(text);
    } else if (name == "op") {
      TROUPE_TRY(text, text_in(name, value));
      TROUPE_TRY(number, op_of(text));
      out.op = number;
      op = true;
    } else if (name == "not") {
      TROUPE_TRY(flag, flag_in(name, value));
      out.negated = flag;
    } else if (name == "value") {
      given = true;
      if (value.is(kind_of::number)) {
        TROUPE_TRY(number, number_in(name, value));
        out.number = number;
      } else if (value.is(kind_of::flag))
        out.number = value.text() == "true" ? 1 : 0;
      else if (value.is(kind_of::list)) {
        TROUPE_TRY(list, list_in(name, value, text_in));
        out.list = std::move(list);
      } else {
        TROUPE_TRY(text, text_in(name, value));
        out.text = std::move(text);
      }
      kind = kind_name(value);
    } else
      return fail(ec::invalid_argument, "there is no field '{}' in a filter", text_start(name, 64));
  }
  if (out.attribute.empty() || !op || !given)
    return fail(ec::invalid_argument, "a filter has attribute, op and value");
  static constexpr std::array<std::string_view, ops.size()> takes{"", "a text", "a number", "a number",
                                                                  "an array"};
  if (auto wanted = takes[out.op]; !wanted.empty() && kind != wanted)
    return fail(ec::invalid_argument, "the value of {} is {}, not {}", ops[out.op], kind, wanted);
  if (takes[out.op].empty() && kind == "an array")
    return fail(ec::invalid_argument, "the value of equals is an array; one_of takes one");
  return out;
}

} // namespace

expected<filter> parse_filter(std::string_view text) {
  filter out;
  auto rest = text;
  if (out.negated = rest.starts_with("not:"); out.negated)
    rest.remove_prefix(4);
  auto name = rest.find(':');
  auto value = name == std::string_view::npos ? name : rest.find(':', name + 1);
  if (value == std::string_view::npos || name == 0)
    return fail(ec::invalid_argument, "filter is '{}', not attribute:op:value", text_start(text, 64));
  out.attribute = rest.substr(0, name);
  TROUPE_TRY(op, op_of(rest.substr(name + 1, value - name - 1)));
  out.op = op;
  auto given = rest.substr(value + 1);
  auto [end, err] = std::from_chars(given.data(), given.data() + given.size(), out.number);
  bool number = err == std::errc{} && end == given.data() + given.size() && std::isfinite(out.number);
  if (!number)
    out.number = given == "true" ? 1 : 0;
  if (ops[op] == "at_least" || ops[op] == "at_most") {
    if (!number)
      return fail(ec::invalid_argument, "the value of {} is '{}', not a number", ops[op],
                  text_start(given, 32));
  } else if (ops[op] == "one_of") {
    for (std::size_t from = 0; from <= given.size();) {
      auto comma = std::min(given.find(',', from), given.size());
      out.list.emplace_back(given.substr(from, comma - from));
      from = comma + 1;
    }
  } else
    out.text = given; // `equals` means a text, a number or a flag, as the attribute is.
  return out;
}

expected<recommend_request> parse_recommend_request(std::string_view body) {
  exact_document document;
  TROUPE_TRY(value, document.read(body));
  if (!value.is(kind_of::object))
    return fail(ec::invalid_argument, "the body is {}, not an object", kind_name(value));
  static constexpr std::array<std::string_view, 8> fields{"user",    "session",    "context", "filters",
                                                          "exclude", "candidates", "n",       "explain"};
  recommend_request out;
  for (auto each : value) {
    auto name = each.key();
    if (each.is(kind_of::null) && std::ranges::find(fields, name) != fields.end())
      continue;
    if (name == "user") {
      TROUPE_TRY(text, name_in(name, each));
      out.user = std::move(text);
    } else if (name == "session" || name == "exclude" || name == "candidates") {
      TROUPE_TRY(list, list_in(name, each, name_in));
      (name == "session" ? out.session : name == "exclude" ? out.exclude : out.candidates) = std::move(list);
    } else if (name == "context") {
      TROUPE_TRY(list, attributes_in(name, each));
      out.context = std::move(list);
    } else if (name == "filters") {
      if (!each.is(kind_of::list) || each.find(100))
        return fail(ec::invalid_argument, "filters is no array of at most 100");
      for (auto one : each) {
        TROUPE_TRY(made, filter_in(one));
        out.filters.push_back(std::move(made));
      }
    } else if (name == "n") {
      TROUPE_TRY(number, number_in(name, each));
      if (number != std::floor(number) || number < 1 || number > 1'000)
        return fail(ec::invalid_argument, "n is {}, not 1 to 1000", number);
      out.n = static_cast<std::uint32_t>(number);
    } else if (name == "explain") {
      TROUPE_TRY(flag, flag_in(name, each));
      out.explain = flag;
    } else
      return fail(ec::invalid_argument, "there is no field '{}' in a request for recommendations",
                  text_start(name, 64));
  }
  return out;
}

expected<std::string> parse_reason(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos)
    return std::string{};
  exact_document document;
  TROUPE_TRY(value, document.read(body));
  if (!value.is(kind_of::object))
    return fail(ec::invalid_argument, "the body is {}, not an object", kind_name(value));
  std::string out;
  for (auto each : value) {
    if (each.key() != "reason")
      return fail(ec::invalid_argument, "there is no field but reason here");
    TROUPE_TRY(text, text_in("reason", each));
    out = std::move(text);
  }
  return out;
}

} // namespace troupe::gateway
