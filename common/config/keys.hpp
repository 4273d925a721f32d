#pragma once

#include "common/config/section.hpp"
#include "common/core/error.hpp"

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace troupe {

/// What a key may hold. Durations are bounded in microseconds, lists and texts by their length, numbers by
/// their value.
struct bounds {
  std::optional<double> least;
  std::optional<double> most;
  std::vector<std::string> choices; ///< Where not empty: the only texts allowed.
};

template <class T>
double as_bound(T value) {
  if constexpr (std::is_arithmetic_v<T>)
    return static_cast<double>(value);
  else
    return static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(value).count());
}

template <class A, class B>
bounds between(A least, B most) {
  return {as_bound(least), as_bound(most), {}};
}

template <class A>
bounds at_least(A least) {
  return {as_bound(least), std::nullopt, {}};
}

inline bounds one_of(std::initializer_list<std::string_view> choices) {
  return {std::nullopt, std::nullopt, {choices.begin(), choices.end()}};
}

/// The keys of one configuration struct, each declared once: where its value goes, what it means, its bounds
/// and its unit. The default is what the member holds when it is added. A service writes
///
///     struct config {
///       std::uint32_t partitions = 8;
///       std::chrono::milliseconds sync_wait{1};
///       std::uint64_t cache_bytes = 64 << 20;
///
///       void bind(config_keys& keys) {
///         keys.add("partitions", partitions, "Partitions of the event log.", between(1, 1024));
///         keys.add("sync_wait", sync_wait, "How long an append waits for company.", between(0ms, 100ms));
///         keys.add("cache_bytes", cache_bytes, "Block cache of the store.", at_least(1 << 20), "bytes");
///       }
///       expected<void> validate() const;   // optional: rules between keys
///     };
///
/// Durations are written as text ("150ms", "7d"); a key whose unit is "bytes" also takes "64MiB".
class config_keys {
public:
  using target = std::variant<bool*, std::int32_t*, std::uint32_t*, std::int64_t*, std::uint64_t*, double*,
                              std::string*, std::vector<std::string>*, std::chrono::microseconds*,
                              std::chrono::milliseconds*, std::chrono::seconds*>;

  struct key {
    std::string name;
    target value;
    std::string meaning;
    bounds limits;
    std::string unit;
    std::string standard; ///< The default, as text.
  };

  /// Declares a key. `value` must outlive this object and holds the default. Names are unique; `a.b` is key b
  /// of table a.
  template <class T>
  void add(std::string name, T& value, std::string meaning, bounds limits = {}, std::string unit = {}) {
    add_key(std::move(name), target{&value}, std::move(meaning), std::move(limits), std::move(unit));
  }

  /// Writes the section into the structs. Nothing is written when anything is wrong: an unknown key, a value
  /// of the wrong type, a value out of bounds. The error names key, value and bound, and suggests the nearest
  /// key for an unknown one.
  expected<void> load(const config_section& section) const;

  /// `name = value` of every key in effect, one a line, in the order of declaration.
  std::string show() const;

  /// What a person needs to know about every key: name, default, bounds, unit, meaning.
  std::string help() const;

  const std::vector<key>& keys() const noexcept { return keys_; }

private:
  void add_key(std::string name, target value, std::string meaning, bounds limits, std::string unit);

  std::vector<key> keys_;
};

/// A configuration struct: it declares its keys.
template <class C>
concept configuration = std::is_default_constructible_v<C> && requires(C config, config_keys& keys) {
  config.bind(keys);
};

/// Reads a section into a fresh struct and checks it, `validate()` included where the struct has one.
template <configuration C>
expected<C> load_config(const config_section& section) {
  C config;
  config_keys keys;
  config.bind(keys);
  TROUPE_CHECK(keys.load(section));
  if constexpr (requires { config.validate(); })
    TROUPE_CHECK(config.validate());
  return config;
}

} // namespace troupe
