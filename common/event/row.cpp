#include "common/event/row.hpp"

#include "common/core/text_start.hpp"
#include "common/event/slate.hpp"
#include "common/json/identity.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace troupe {

namespace {

using kind_of = exact_value::kind;

constexpr std::array<std::string_view, 15> fields{
    "kind",       "id",      "type",  "user",    "item",      "event_time", "value",      "request_id",
    "attributes", "context", "shown", "untimed", "partition", "offset",     "ingest_time"};

constexpr std::array<std::string_view, 3> fields_of_shown{"item", "position", "propensity"};

/// A field by its name: rows are many, and names few.
enum class field : std::uint8_t {
  unknown,
  kind,
  id,
  type,
  user,
  item,
  event_time,
  value,
  request_id,
  attributes,
  context,
  shown,
  untimed,
  place, ///< What rows of the lake say of their place in another log.
};

field field_named(std::string_view name) noexcept {
  auto either = [name](std::string_view word, field is, field otherwise = field::unknown) {
    return name == word ? is : otherwise;
  };
  switch (name.size()) {
  case 2:
    return either("id", field::id);
  case 4:
    return either("type", field::type,
                  either("user", field::user, either("item", field::item, either("kind", field::kind))));
  case 5:
    return either("value", field::value, either("shown", field::shown));
  case 6:
    return either("offset", field::place);
  case 7:
    return either("context", field::context, either("untimed", field::untimed));
  case 9:
    return either("partition", field::place);
  case 10:
    return either("event_time", field::event_time,
                  either("request_id", field::request_id, either("attributes", field::attributes)));
  case 11:
    return either("ingest_time", field::place);
  default:
    return field::unknown;
  }
}

template <class Names>
bool among(const Names& names, std::string_view name) noexcept {
  return std::ranges::find(names, name) != names.end();
}

bool belongs(field is, record_kind kind) noexcept {
  switch (is) {
  case field::user:
    return kind != record_kind::item;
  case field::item:
    return kind == record_kind::event || kind == record_kind::item;
  case field::value:
    return kind == record_kind::event;
  case field::shown:
    return kind == record_kind::slate;
  case field::type:
  case field::request_id:
  case field::context:
    return !is_entity(kind);
  default:
    return is != field::unknown;
  }
}

std::optional<record_kind> kind_named(std::string_view name) noexcept {
  for (auto kind : {record_kind::event, record_kind::user, record_kind::item, record_kind::slate})
    if (name == to_string(kind))
      return kind;
  return std::nullopt;
}

bool is_empty(exact_value from) noexcept {
  return from.is(kind_of::null) || (from.is(kind_of::text) && from.text().empty());
}

std::string shown(std::string_view text) {
  return fmt::format("`{}{}`", text_start(text, 60), text.size() > 60 ? "..." : "");
}

refusal unreadable(std::string_view field, std::string reason) {
  return {"parse", std::string{field}, std::move(reason)};
}

std::optional<refusal> read_kind(exact_value row, std::optional<record_kind> only, record& to) {
  auto given = row.find("kind");
  if (!given || is_empty(*given)) {
    if (!only)
      return refusal{"required", "kind", "kind is missing"};
    to.kind = *only;
    return std::nullopt;
  }
  auto text = identity_of(*given);
  if (!text)
    return unreadable("kind", fmt::format("kind: {}", text.error().text));
  auto named = kind_named(*text);
  if (!named)
    return unreadable("kind", fmt::format("{} is not event, slate, user or item", shown(*text)));
  bool taken = !only || *named == *only || (*only == record_kind::event && *named == record_kind::slate);
  if (!taken)
    return unreadable("kind", fmt::format("kind is {}, only {} is taken here", to_string(*named),
                                          *only == record_kind::event ? "event or slate" : to_string(*only)));
  to.kind = *named;
  return std::nullopt;
}

/// An item of a slate; what is wrong with it names its place in the list, from 0.
std::optional<refusal> read_shown_item(exact_value from, std::size_t index, shown_item& to) {
  auto wrong = [&](std::string_view field, std::string_view reason) {
    return unreadable("shown", fmt::format("shown.{}{}{} {}", index, field.empty() ? "" : ".",
                                           text_start(field, 64), reason));
  };
  if (!from.is(kind_of::object))
    return wrong("", fmt::format("is {}, not an object", kind_name(from)));
  for (auto each : from) {
    auto name = each.key();
    if (!among(fields_of_shown, name))
      return wrong(name, "is no field of what is shown: item, position, propensity");
    if (is_empty(each))
      continue;
    if (name == "item") {
      auto text = identity_of(each);
      if (!text)
        return wrong(name, fmt::format("is no name: {}", text.error().text));
      to.item = *text;
      continue;
    }
    auto number = each.is(kind_of::text) ? read_number(each.text()) : each.number();
    if (!number)
      return wrong(name, fmt::format("is {}, not a finite number", kind_name(each)));
    if (name == "propensity")
      to.propensity = *number;
    else if (auto place = position_of(*number))
      to.position = *place;
    else
      return unreadable("shown", fmt::format("shown.{}.{}", index, place.error().text));
  }
  return std::nullopt;
}

} // namespace

std::optional<double> read_number(std::string_view text) noexcept {
  constexpr std::string_view spaces = " \t\r\n";
  text.remove_prefix(std::min(text.find_first_not_of(spaces), text.size()));
  text = text.substr(0, text.find_last_not_of(spaces) + 1);
  if (text.starts_with('+'))
    text.remove_prefix(1);
  double number = 0;
  auto [stop, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (wrong != std::errc{} || stop != text.data() + text.size() || !std::isfinite(number))
    return std::nullopt;
  return number;
}

void append_word(std::string& to, exact_value from) {
  if (from.is(kind_of::list) || from.is(kind_of::object))
    append_json(to, from);
  else
    to += from.text();
}

std::optional<attribute_value> read_attribute(exact_value from) {
  switch (from.is()) {
  case kind_of::flag:
    return from.text() == "true";
  case kind_of::number:
    if (auto number = from.number())
      return *number;
    return std::nullopt;
  case kind_of::list: {
    text_list words;
    for (auto each : from)
      if (!each.is(kind_of::null))
        append_word(words.emplace_back(), each);
    return words;
  }
  default: {
    std::string text;
    append_word(text, from);
    return text;
  }
  }
}

std::span<const std::string_view> row_fields() noexcept {
  return fields;
}

std::optional<refusal> row_reader::read(exact_value row, std::optional<record_kind> kind, record& to,
                                        bool& timed) {
  timed = false;
  if (!row.is(kind_of::object))
    return unreadable("", fmt::format("a row is {}, not an object", kind_name(row)));
  if (auto wrong = read_kind(row, kind, to))
    return wrong;
  bool untimed = false;
  std::optional<exact_value> context;
  for (auto each : row) {
    auto name = each.key();
    auto is = field_named(name);
    if (is_empty(each) || is == field::kind || is == field::place)
      continue;
    if (!belongs(is, to.kind))
      return unreadable(name, fmt::format("there is no field '{}' in a row of {}s", text_start(name, 64),
                                          to_string(to.kind)));
    if (is == field::untimed) {
      auto text = identity_of(each);
      auto flag = text ? read_flag(*text) : std::nullopt;
      if (!flag)
        return unreadable(name, "untimed is neither true nor false");
      untimed = *flag;
    } else if (is == field::context) {
      context = each; // Behind `attributes`, wherever it stands: of a name in both the later one stays.
    } else if (auto wrong = read_field(name, each, to, timed)) {
      return wrong;
    }
  }
  if (context)
    if (auto wrong = read_attributes("context", *context, to))
      return wrong;
  timed = timed && !untimed;
  to.untimed = is_entity(to.kind) && !timed;
  bool event = to.kind == record_kind::event, slate = to.kind == record_kind::slate;
  for (auto [name, text, needed] : {std::tuple{"type", &to.type, event},
                                    {"user", &to.user, to.kind != record_kind::item},
                                    {"item", &to.item, event || to.kind == record_kind::item}})
    if (needed && text->empty())
      return refusal{"required", name, fmt::format("{} is missing", name)};
  if (slate && to.shown.empty())
    return refusal{"required", "shown", "shown is missing"};
  if (slate && to.type.empty())
    to.type = impression_type;
  if (slate && to.id.empty() && !to.request_id.empty())
    to.id = slate_id(to.request_id); // A page is known by its request, whoever writes it.
  normalise(to);
  return std::nullopt;
}

std::optional<refusal> row_reader::read_field(std::string_view name, exact_value from, record& to,
                                              bool& timed) {
  auto is = field_named(name);
  switch (is) {
  case field::attributes:
    return read_attributes(name, from, to);
  case field::shown:
    return read_shown(from, to);
  case field::value: {
    to.value = from.is(kind_of::text) ? read_number(from.text()) : from.number();
    if (to.value)
      return std::nullopt;
    bool scalar = from.is(kind_of::text) || from.is(kind_of::number);
    return unreadable(name, fmt::format("value is {}, not a finite number",
                                        scalar ? shown(from.text()) : std::string{kind_name(from)}));
  }
  case field::event_time: {
    if (!from.is(kind_of::text) && !from.is(kind_of::number))
      return unreadable(name, fmt::format("event_time is {}, not a time", kind_name(from)));
    auto at = parse_time(from.text());
    if (!at)
      return unreadable(name, at.error().text);
    to.event_time = *at;
    timed = true;
    return std::nullopt;
  }
  default:
    break;
  }
  auto text = identity_of(from);
  if (!text)
    return unreadable(name, fmt::format("{}: {}", name, text.error().text));
  (is == field::id     ? to.id
   : is == field::type ? to.type
   : is == field::user ? to.user
   : is == field::item ? to.item
                       : to.request_id) = *text;
  return std::nullopt;
}

std::optional<refusal> row_reader::read_shown(exact_value from, record& to) {
  if (from.is(kind_of::text)) {
    auto inner = inner_.read(from.text());
    if (!inner)
      return unreadable("shown", fmt::format("shown is a text that is {}", inner.error().text));
    if (!inner->is(kind_of::list))
      return unreadable("shown", fmt::format("shown is {} in a text, not an array", kind_name(*inner)));
    return read_shown(*inner, to);
  }
  if (!from.is(kind_of::list))
    return unreadable("shown", fmt::format("shown is {}, not an array", kind_name(from)));
  for (auto each : from) {
    if (to.shown.size() > max_shown) // One more than there may be: `check` says so.
      break;
    auto place = to.shown.size();
    if (auto wrong = read_shown_item(each, place, to.shown.emplace_back()))
      return wrong;
  }
  return std::nullopt;
}

std::optional<refusal> row_reader::read_attributes(std::string_view name, exact_value from, record& to) {
  if (from.is(kind_of::text)) {
    auto inner = inner_.read(from.text());
    if (!inner)
      return unreadable(name, fmt::format("{} is a text that is {}", name, inner.error().text));
    if (inner->is(kind_of::text))
      return unreadable(name, fmt::format("{} is a text, not an object", name));
    return read_attributes(name, *inner, to);
  }
  if (!from.is(kind_of::object))
    return unreadable(name, fmt::format("{} is {}, not an object", name, kind_name(from)));
  auto count = to.attributes.size();
  for (auto each : from)
    count += !each.is(kind_of::null);
  to.attributes.reserve(count);
  for (auto each : from) {
    if (each.is(kind_of::null))
      continue;
    auto value = read_attribute(each);
    if (!value)
      return unreadable(name, fmt::format("{}.{} is {}, not a finite number", name,
                                          text_start(each.key(), 64), shown(each.text())));
    auto& made = to.attributes.emplace_back();
    made.name = each.key();
    made.value = std::move(*value);
  }
  return std::nullopt;
}

} // namespace troupe
