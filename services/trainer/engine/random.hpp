#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace troupe::trainer {

__extension__ using wide = unsigned __int128;

/// SplitMix64 (Steele, Lea, Flood, 2014): one word of state, the same numbers on every machine.
struct random_source {
  std::uint64_t state = 0;

  std::uint64_t next() noexcept {
    auto z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  /// Uniform in [0, bound).
  std::uint64_t below(std::uint64_t bound) noexcept {
    return static_cast<std::uint64_t>((static_cast<wide>(next()) * bound) >> 64);
  }

  /// Uniform in [0, 1).
  double unit() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

  double normal() noexcept {
    auto radius = std::sqrt(-2 * std::log(1 - unit()));
    return radius * std::cos(2 * std::numbers::pi * unit());
  }
};

} // namespace troupe::trainer
