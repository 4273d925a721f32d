#pragma once

#include <cmath>
#include <cstdint>

namespace troupe::cli {

/// Clicks per impression of one arm. Sums of integers, so the order of the visits does not matter.
struct click_sums {
  std::uint64_t visits = 0;
  std::uint64_t impressions = 0;
  std::uint64_t clicks = 0;
  std::uint64_t clicks_squared = 0;
  std::uint64_t impressions_squared = 0;
  std::uint64_t products = 0;

  void add(std::uint64_t shown, std::uint64_t clicked) {
    ++visits;
    impressions += shown;
    clicks += clicked;
    clicks_squared += clicked * clicked;
    impressions_squared += shown * shown;
    products += shown * clicked;
  }

  double rate() const {
    return impressions == 0 ? 0 : static_cast<double>(clicks) / static_cast<double>(impressions);
  }

  /// Of the rate: a ratio estimator with visits as clusters (Cochran, Sampling Techniques, 1977, 6.4),
  /// because the impressions of one visit are not independent.
  double variance() const {
    if (visits < 2 || impressions == 0)
      return 0;
    auto r = rate(), i = static_cast<double>(impressions), n = static_cast<double>(visits);
    auto squares = static_cast<double>(clicks_squared) - 2 * r * static_cast<double>(products) +
                   r * r * static_cast<double>(impressions_squared);
    return std::fmax(0, squares) / (i * i) * n / (n - 1);
  }

  /// Half the width of the 95 % interval.
  double margin() const { return 1.959964 * std::sqrt(variance()); }
};

} // namespace troupe::cli
