#include "services/validator/cell.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace troupe::validator {

namespace {

constexpr std::size_t shown_bytes = 64;

} // namespace

std::string shown(std::string_view text) {
  if (text.size() <= shown_bytes)
    return fmt::format("'{}'", text);
  auto end = shown_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end;
  return fmt::format("'{}...'", text.substr(0, end));
}

std::string shown(const cell& of) {
  switch (of.kind) {
  case cell::holds::text:
    return shown(of.text);
  case cell::holds::number:
    return fmt::format("{}", of.number);
  case cell::holds::flag:
    return of.number != 0 ? "true" : "false";
  case cell::holds::time:
    return to_rfc3339(from_micros(of.time));
  case cell::holds::list:
    return fmt::format("a list of {} words", of.list ? of.list->size() : 0);
  default:
    return "nothing";
  }
}

std::string_view kind_name(cell::holds kind) noexcept {
  constexpr std::array<std::string_view, 6> names{"nothing", "a text", "a number",
                                                  "a flag",  "a list", "a time"};
  return names[static_cast<std::size_t>(kind)];
}

std::uint64_t characters(std::string_view text) noexcept {
  return static_cast<std::uint64_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

} // namespace troupe::validator
