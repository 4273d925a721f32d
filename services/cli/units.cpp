#include "services/cli/units.hpp"

#include "common/core/time.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace troupe::cli {

namespace {

/// Three digits or more of a number, none behind the point that say nothing.
std::string plain(double value) {
  auto size = std::abs(value);
  auto text = fmt::format("{:.{}f}", value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 5);
  if (text.find('.') == std::string::npos)
    return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.'))
    text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string span_of(double us) {
  auto size = std::abs(us);
  if (size >= 120e6)
    return plain(us / 60e6) + " min";
  return size >= 10e6 ? plain(us / 1e6) + " s" : plain(us / 1e3) + " ms";
}

std::string size_of(double bytes) {
  constexpr std::array units{"bytes", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; std::abs(bytes) >= 1024 && unit + 1 < units.size(); ++unit)
    bytes /= 1024;
  return fmt::format("{} {}", plain(bytes), units[unit]);
}

struct unit {
  std::string_view ending;
  std::string (*show)(double value);
};

constexpr std::array known{
    unit{"_us", span_of}, unit{"_ms", [](double value) { return span_of(value * 1e3); }},
    unit{"_seconds", [](double value) { return span_of(value * 1e6); }}, unit{"_bytes", size_of}};

const unit* unit_of(std::string_view name) {
  for (const auto& each : known)
    if (name.ends_with(each.ending) && name.size() > each.ending.size())
      return &each;
  return nullptr;
}

} // namespace

std::string_view name_without_unit(std::string_view name) {
  const auto* unit = unit_of(name);
  return unit ? name.substr(0, name.size() - unit->ending.size()) : name;
}

std::string value_with_unit(std::string_view name, double value) {
  if (!std::isfinite(value))
    return "-";
  if (const auto* unit = unit_of(name))
    return unit->show(value);
  return name.ends_with("_rate") ? plain(100 * value) + " %" : plain(value);
}

std::string short_time(std::int64_t micros) {
  return micros == 0 ? std::string{} : to_rfc3339(from_micros(micros)).substr(0, 19);
}

} // namespace troupe::cli
