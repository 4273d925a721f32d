#include "common/json/fields.hpp"

#include "common/core/file.hpp"
#include "common/json/parse.hpp"

#include <cmath>
#include <optional>
#include <utility>

namespace troupe {

namespace {

using boost::json::array;
using boost::json::object;
using boost::json::value;

expected<const value*> wanted(const object& in, std::string_view path, std::string_view type) {
  const auto* found = find_value(in, path);
  if (!found)
    return fail(ec::corrupt, "{} is missing, {} is wanted", path, type);
  return found;
}

unexpected<error> other_type(std::string_view path, const value& is, std::string_view type) {
  return fail(ec::corrupt, "{} is {}, not {}", path, kind_name(is), type);
}

std::optional<std::uint64_t> whole(const value& from) noexcept {
  constexpr double beyond = 18446744073709551616.0; // 2^64
  if (from.is_uint64())
    return from.get_uint64();
  if (from.is_int64() && from.get_int64() >= 0)
    return static_cast<std::uint64_t>(from.get_int64());
  if (from.is_double() && from.get_double() >= 0 && from.get_double() < beyond &&
      std::trunc(from.get_double()) == from.get_double())
    return static_cast<std::uint64_t>(from.get_double());
  return std::nullopt;
}

} // namespace

expected<std::string> text_at(const object& in, std::string_view path) {
  TROUPE_TRY(found, wanted(in, path, "a text"));
  if (!found->is_string())
    return other_type(path, *found, "a text");
  return std::string{found->get_string()};
}

expected<double> number_at(const object& in, std::string_view path) {
  TROUPE_TRY(found, wanted(in, path, "a number"));
  if (!found->is_number())
    return other_type(path, *found, "a number");
  return found->to_number<double>();
}

expected<std::uint64_t> whole_at(const object& in, std::string_view path) {
  TROUPE_TRY(found, wanted(in, path, "a whole number"));
  if (auto number = whole(*found))
    return *number;
  return other_type(path, *found, "a whole number");
}

expected<bool> flag_at(const object& in, std::string_view path) {
  TROUPE_TRY(found, wanted(in, path, "true or false"));
  if (!found->is_bool())
    return other_type(path, *found, "true or false");
  return found->get_bool();
}

expected<const object*> object_at(const object& in, std::string_view path) {
  TROUPE_TRY(found, wanted(in, path, "an object"));
  if (!found->is_object())
    return other_type(path, *found, "an object");
  return &found->get_object();
}

expected<const array*> array_at(const object& in, std::string_view path) {
  TROUPE_TRY(found, wanted(in, path, "an array"));
  if (!found->is_array())
    return other_type(path, *found, "an array");
  return &found->get_array();
}

std::string text_or(const object& in, std::string_view path, std::string_view standard) {
  const auto* found = find_value(in, path);
  return found && found->is_string() ? std::string{found->get_string()} : std::string{standard};
}

double number_or(const object& in, std::string_view path, double standard) {
  const auto* found = find_value(in, path);
  return found && found->is_number() ? found->to_number<double>() : standard;
}

std::uint64_t whole_or(const object& in, std::string_view path, std::uint64_t standard) {
  const auto* found = find_value(in, path);
  return found ? whole(*found).value_or(standard) : standard;
}

bool flag_or(const object& in, std::string_view path, bool standard) {
  const auto* found = find_value(in, path);
  return found && found->is_bool() ? found->get_bool() : standard;
}

const value* find_value(const object& in, std::string_view path) noexcept {
  const auto* at = &in;
  for (;;) {
    auto dot = path.find('.');
    const auto* found = at->if_contains(path.substr(0, dot));
    if (!found || dot == path.npos)
      return found;
    at = found->if_object();
    if (!at)
      return nullptr;
    path.remove_prefix(dot + 1);
  }
}

const object* find_object(const object& in, std::string_view path) noexcept {
  const auto* found = find_value(in, path);
  return found ? found->if_object() : nullptr;
}

const array* find_array(const object& in, std::string_view path) noexcept {
  const auto* found = find_value(in, path);
  return found ? found->if_array() : nullptr;
}

std::string_view kind_name(const value& what) noexcept {
  switch (what.kind()) {
  case boost::json::kind::null:
    return "null";
  case boost::json::kind::bool_:
    return "a flag";
  case boost::json::kind::int64:
  case boost::json::kind::uint64:
  case boost::json::kind::double_:
    return "a number";
  case boost::json::kind::string:
    return "a text";
  case boost::json::kind::array:
    return "an array";
  case boost::json::kind::object:
    break;
  }
  return "an object";
}

expected<object> parse_json_object(std::string_view text, std::string_view origin) {
  auto parsed = parse_json(text);
  if (!parsed)
    return fail(ec::corrupt, "cannot read {}: {}", origin, parsed.error().text);
  if (!parsed->is_object())
    return fail(ec::corrupt, "cannot read {}: it is {}, not an object", origin, kind_name(*parsed));
  return std::move(parsed->get_object());
}

expected<object> read_json_object(const std::filesystem::path& file) {
  TROUPE_TRY(text, read_file(file));
  return parse_json_object(text, file.string());
}

} // namespace troupe
