#include "common/config/keys.hpp"

#include "common/core/time.hpp"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <functional>
#include <limits>

namespace troupe {

namespace {

using std::chrono::microseconds;

template <class T>
constexpr bool is_duration =
    std::is_same_v<T, microseconds> || std::is_same_v<T, std::chrono::milliseconds> ||
    std::is_same_v<T, std::chrono::seconds>;

std::string bound_text(double bound, bool duration) {
  if (duration)
    return to_duration_text(microseconds{static_cast<std::int64_t>(bound)});
  return fmt::format("{}", bound);
}

std::string limits_text(const bounds& limits, bool duration) {
  if (!limits.choices.empty())
    return fmt::format("one of {}", fmt::join(limits.choices, ", "));
  if (limits.least && limits.most)
    return fmt::format("{} to {}", bound_text(*limits.least, duration), bound_text(*limits.most, duration));
  if (limits.least)
    return fmt::format("at least {}", bound_text(*limits.least, duration));
  if (limits.most)
    return fmt::format("at most {}", bound_text(*limits.most, duration));
  return {};
}

std::string_view type_name(const config_keys::target& target) {
  return std::visit(
      []<class T>(T*) -> std::string_view {
        if constexpr (std::is_same_v<T, bool>)
          return "true or false";
        else if constexpr (std::is_integral_v<T>)
          return "a whole number";
        else if constexpr (std::is_floating_point_v<T>)
          return "a number";
        else if constexpr (std::is_same_v<T, std::string>)
          return "a text";
        else if constexpr (is_duration<T>)
          return "a duration such as 150ms, 30s or 7d";
        else
          return "a list of texts";
      },
      target);
}

bool is_duration_target(const config_keys::target& target) {
  return std::visit([]<class T>(T*) { return is_duration<T>; }, target);
}

std::string show_value(const config_keys::target& target) {
  return std::visit(
      []<class T>(T* value) -> std::string {
        if constexpr (is_duration<T>)
          return fmt::format("\"{}\"", to_duration_text(std::chrono::duration_cast<microseconds>(*value)));
        else if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string> ||
                           std::is_same_v<T, std::vector<std::string>>)
          return to_text(config_value{*value});
        else
          return fmt::format("{}", *value);
      },
      target);
}

/// "64MiB" as bytes.
std::optional<std::int64_t> parse_bytes(std::string_view text) {
  std::int64_t whole = 0;
  auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), whole);
  if (bad != std::errc{} || whole < 0)
    return std::nullopt;
  std::string_view unit{end, static_cast<std::size_t>(text.data() + text.size() - end)};
  constexpr std::pair<std::string_view, std::int64_t> units[] = {{"", 1},
                                                                 {"B", 1},
                                                                 {"KiB", 1 << 10},
                                                                 {"MiB", 1 << 20},
                                                                 {"GiB", 1 << 30},
                                                                 {"kB", 1'000},
                                                                 {"MB", 1'000'000},
                                                                 {"GB", 1'000'000'000},
                                                                 {"TiB", std::int64_t{1} << 40}};
  for (auto [name, factor] : units)
    if (unit == name)
      return whole > std::numeric_limits<std::int64_t>::max() / factor ? std::nullopt
                                                                       : std::optional{whole * factor};
  return std::nullopt;
}

/// What goes wrong with one value: the rest of the sentence "key k = v: ...".
using problem = std::optional<std::string>;

problem check_bounds(double value, const bounds& limits, bool duration, std::string_view what) {
  if ((limits.least && value < *limits.least) || (limits.most && value > *limits.most) || std::isnan(value))
    return fmt::format("{}must be {}", what, limits_text(limits, duration));
  return std::nullopt;
}

/// Reads `from` into `into`, and says what is wrong with it.
template <class T>
problem read_value(const config_keys::key& key, const config_value& from, T& into) {
  auto wrong_type = [&] { return problem{fmt::format("must be {}", type_name(key.value))}; };
  if constexpr (std::is_same_v<T, bool>) {
    const auto* flag = std::get_if<bool>(&from);
    if (!flag)
      return wrong_type();
    into = *flag;
    return std::nullopt;
  } else if constexpr (std::is_integral_v<T>) {
    std::int64_t whole = 0;
    if (const auto* number = std::get_if<std::int64_t>(&from))
      whole = *number;
    else if (const auto* text = std::get_if<std::string>(&from); text && key.unit == "bytes") {
      auto bytes = parse_bytes(*text);
      if (!bytes)
        return problem{"must be a whole number of bytes, or a text such as 64MiB"};
      whole = *bytes;
    } else
      return wrong_type();
    if (!std::in_range<T>(whole))
      return problem{
          fmt::format("must be {} to {}",
                      std::max<double>(key.limits.least.value_or(std::numeric_limits<T>::min()),
                                       static_cast<double>(std::numeric_limits<T>::min())),
                      key.limits.most.value_or(static_cast<double>(std::numeric_limits<T>::max())))};
    into = static_cast<T>(whole);
    return check_bounds(static_cast<double>(whole), key.limits, false, "");
  } else if constexpr (std::is_floating_point_v<T>) {
    if (const auto* real = std::get_if<double>(&from))
      into = *real;
    else if (const auto* whole = std::get_if<std::int64_t>(&from))
      into = static_cast<double>(*whole);
    else
      return wrong_type();
    return check_bounds(into, key.limits, false, "");
  } else if constexpr (is_duration<T>) {
    const auto* text = std::get_if<std::string>(&from);
    if (!text)
      return wrong_type();
    auto span = parse_duration(*text);
    if (!span)
      return wrong_type();
    into = std::chrono::duration_cast<T>(*span);
    if (into != *span)
      return problem{fmt::format("must be a whole number of {}",
                                 std::is_same_v<T, std::chrono::seconds> ? "seconds" : "milliseconds")};
    return check_bounds(static_cast<double>(span->count()), key.limits, true, "");
  } else if constexpr (std::is_same_v<T, std::string>) {
    const auto* text = std::get_if<std::string>(&from);
    if (!text)
      return wrong_type();
    into = *text;
    const auto& choices = key.limits.choices;
    if (!choices.empty() && std::ranges::find(choices, *text) == choices.end())
      return problem{fmt::format("must be {}", limits_text(key.limits, false))};
    return check_bounds(static_cast<double>(text->size()), key.limits, false, "its length ");
  } else {
    const auto* list = std::get_if<std::vector<std::string>>(&from);
    if (!list)
      return wrong_type();
    into = *list;
    const auto& choices = key.limits.choices;
    for (const auto& item : *list)
      if (!choices.empty() && std::ranges::find(choices, item) == choices.end())
        return problem{fmt::format("each must be {}", limits_text(key.limits, false))};
    return check_bounds(static_cast<double>(list->size()), key.limits, false, "its length ");
  }
}

/// Edit distance (Levenshtein, 1966), for suggestions.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j)
    row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      auto change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

} // namespace

void config_keys::add_key(std::string name, target value, std::string meaning, bounds limits,
                          std::string unit) {
  assert(std::ranges::none_of(keys_, [&](const key& other) { return other.name == name; }));
  auto standard = show_value(value);
  keys_.push_back(
      {std::move(name), value, std::move(meaning), std::move(limits), std::move(unit), std::move(standard)});
}

expected<void> config_keys::load(const config_section& section) const {
  std::vector<std::function<void()>> writes;
  for (const auto& entry : section.values) {
    const auto& name = entry.first;
    const auto& value = entry.second;
    auto found = std::ranges::find(keys_, name, &key::name);
    if (found == keys_.end()) {
      auto nearest =
          std::ranges::min_element(keys_, {}, [&](const key& other) { return distance(other.name, name); });
      auto advice = nearest != keys_.end() && distance(nearest->name, name) <= 3
                        ? fmt::format("did you mean {}?", nearest->name)
                        : fmt::format("known keys: {}", [&] {
                            std::vector<std::string_view> names;
                            for (const auto& other : keys_)
                              names.push_back(other.name);
                            return fmt::format("{}", fmt::join(names, ", "));
                          }());
      return fail(ec::invalid_argument, "{}: unknown key {} = {}; {}", section.origin, name, to_text(value),
                  advice);
    }
    auto wrong = std::visit(
        [&]<class T>(T* into) -> problem {
          T read{};
          if (auto bad = read_value(*found, value, read))
            return bad;
          writes.push_back([into, read = std::move(read)] { *into = read; });
          return std::nullopt;
        },
        found->value);
    if (wrong)
      return fail(ec::invalid_argument, "{}: key {} = {}: {}", section.origin, name, to_text(value), *wrong);
  }
  for (auto& write : writes)
    write();
  return {};
}

std::string config_keys::show() const {
  std::string out;
  for (const auto& key : keys_)
    out += fmt::format("{} = {}\n", key.name, show_value(key.value));
  return out;
}

std::string config_keys::help() const {
  std::string out;
  for (const auto& key : keys_) {
    auto limits = limits_text(key.limits, is_duration_target(key.value));
    out += fmt::format("  {} = {}{}{}\n      {}\n", key.name, key.standard,
                       key.unit.empty() ? "" : "  " + key.unit,
                       limits.empty() ? "" : fmt::format("  ({})", limits), key.meaning);
  }
  return out;
}

} // namespace troupe
