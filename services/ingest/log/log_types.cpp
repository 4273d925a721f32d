#include "services/ingest/log/log_types.hpp"

#include "common/core/json_string.hpp"

#include <array>
#include <bit>

namespace troupe::ingest {

namespace {

void add_text(std::string& to, std::string_view text) {
  auto size = static_cast<std::uint32_t>(text.size());
  to.append(reinterpret_cast<const char*>(&size), sizeof size);
  to += text;
}

void add_number(std::string& to, std::uint64_t number) {
  to.append(reinterpret_cast<const char*>(&number), sizeof number);
}

std::string number_text(double number) {
  auto text = fmt::format("{}", number);
  if (text.find_first_of(".en") == std::string::npos)
    text += ".0";
  return text;
}

void add_value(std::string& to, const attribute_value& value) {
  if (auto text = std::get_if<std::string>(&value))
    return append_json_string(to, *text);
  if (auto number = std::get_if<double>(&value)) {
    to += number_text(*number);
    return;
  }
  if (auto flag = std::get_if<bool>(&value)) {
    to += *flag ? "true" : "false";
    return;
  }
  to += '[';
  bool first = true;
  for (auto& word : std::get<text_list>(value)) {
    if (!std::exchange(first, false))
      to += ',';
    append_json_string(to, word);
  }
  to += ']';
}

} // namespace

std::uint64_t content_hash(const record& rec) {
  thread_local std::string text;
  text.clear();
  text += static_cast<char>(rec.kind);
  for (auto* field : {&rec.type, &rec.user, &rec.item, &rec.request_id})
    add_text(text, *field);
  if (rec.untimed)
    text += 'u';
  else
    add_number(text, static_cast<std::uint64_t>(micros_of(rec.event_time)));
  text += rec.value ? '1' : '0';
  add_number(text, std::bit_cast<std::uint64_t>(rec.value.value_or(0)));
  for (auto& each : rec.attributes) {
    add_text(text, each.name);
    text += static_cast<char>(each.value.index());
    if (auto words = std::get_if<std::string>(&each.value))
      add_text(text, *words);
    else if (auto number = std::get_if<double>(&each.value))
      add_number(text, std::bit_cast<std::uint64_t>(*number));
    else if (auto flag = std::get_if<bool>(&each.value))
      text += *flag ? '1' : '0';
    else {
      auto& list = std::get<text_list>(each.value);
      add_number(text, list.size());
      for (auto& word : list)
        add_text(text, word);
    }
  }
  for (auto& each : rec.shown) {
    add_text(text, each.item);
    add_number(text, each.position);
    add_number(text, std::bit_cast<std::uint64_t>(each.propensity));
  }
  return hash64(std::string_view{text});
}

expected<void> check_held(record rec) {
  static constexpr std::array<std::string_view, 4> entrance{"created", "deleted", "expires", "hidden"};
  if (is_entity(rec.kind))
    std::erase_if(rec.attributes,
                  [](auto& each) { return std::ranges::find(entrance, each.name) != entrance.end(); });
  return check(rec);
}

std::string attributes_json(const std::vector<attribute>& attributes) {
  std::string out = "{";
  for (auto& each : attributes) {
    if (out.size() > 1)
      out += ',';
    append_json_string(out, each.name);
    out += ':';
    add_value(out, each.value);
  }
  out += '}';
  return out;
}

std::string to_json(const record& rec) {
  std::string out = "{\"kind\":";
  append_json_string(out, to_string(rec.kind));
  auto add = [&](std::string_view name, std::string_view text) {
    if (text.empty())
      return;
    out += ",\"";
    out += name;
    out += "\":";
    append_json_string(out, text);
  };
  add("id", rec.id);
  add("type", rec.type);
  add("user", rec.user);
  add("item", rec.item);
  if (!rec.untimed)
    add("event_time", to_rfc3339(rec.event_time));
  if (rec.value)
    out += ",\"value\":" + number_text(*rec.value);
  add("request_id", rec.request_id);
  if (!rec.attributes.empty())
    out += ",\"attributes\":" + attributes_json(rec.attributes);
  if (!rec.shown.empty()) {
    out += ",\"shown\":[";
    for (auto& each : rec.shown) {
      out += &each == &rec.shown.front() ? "{\"item\":" : ",{\"item\":";
      append_json_string(out, each.item);
      if (each.position != 0)
        out += fmt::format(",\"position\":{}", each.position);
      out += fmt::format(",\"propensity\":{}}}", each.propensity);
    }
    out += ']';
  }
  out += '}';
  return out;
}

} // namespace troupe::ingest
