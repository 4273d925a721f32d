#include "services/deployer/sequential.hpp"

#include <boost/math/special_functions/beta.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace troupe::deployer {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Without exceptions: what cannot be computed is 0 or infinity.
using quiet = boost::math::policies::policy<
    boost::math::policies::domain_error<boost::math::policies::ignore_error>,
    boost::math::policies::overflow_error<boost::math::policies::ignore_error>,
    boost::math::policies::underflow_error<boost::math::policies::ignore_error>,
    boost::math::policies::evaluation_error<boost::math::policies::ignore_error>,
    boost::math::policies::promote_double<false>>;

double log_beta(double a, double b) noexcept {
  return std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b);
}

/// Evidence that the rate is above `bound`, or below it.
double log_evidence(std::uint64_t hits, std::uint64_t n, double bound, bool above) noexcept {
  if (n == 0 || hits > n || !(bound > 0 && bound < 1))
    return -infinity;
  double a = 1, b = 1 / bound - 1;
  auto mass = [&](double x, double y) {
    return above ? boost::math::ibetac(x, y, bound, quiet{}) : boost::math::ibeta(x, y, bound, quiet{});
  };
  auto s = static_cast<double>(hits), f = static_cast<double>(n - hits);
  auto cut = mass(a + s, b + f);
  if (!(cut > 0))
    return -infinity;
  auto before = log_beta(a, b) + std::log(mass(a, b));
  return log_beta(a + s, b + f) + std::log(cut) - before - s * std::log(bound) - f * std::log1p(-bound);
}

} // namespace

double log_evidence_above(std::uint64_t hits, std::uint64_t n, double bound) noexcept {
  return log_evidence(hits, n, bound, true);
}

double largest_rate(std::uint64_t hits, std::uint64_t n, double alpha) noexcept {
  if (n == 0 || hits >= n)
    return 1;
  auto low = static_cast<double>(hits) / static_cast<double>(n), high = 1.0;
  for (int i = 0; i < 50; ++i) {
    auto middle = (low + high) / 2;
    (log_evidence(hits, n, middle, false) < -std::log(alpha) ? low : high) = middle;
  }
  return high;
}

double sequence_half_width(double variance, double alpha, double scale) noexcept {
  if (!(variance > 0) || !std::isfinite(variance))
    return infinity;
  auto information = 1 / variance;
  auto grown = 1 + scale * scale * information;
  return std::sqrt(2 * grown / (scale * scale * information * information) *
                   std::log(std::sqrt(grown) / alpha));
}

click_rate rate_of(std::span<const click_cell> cells) noexcept {
  click_rate out;
  for (auto& each : cells) {
    out.answers += each.answers;
    out.impressions += each.impressions;
    out.clicks += each.clicks;
    out.buckets += each.impressions > 0;
  }
  if (out.impressions == 0)
    return out;
  auto shown = static_cast<double>(out.impressions);
  out.rate = static_cast<double>(out.clicks) / shown;
  double squares = 0;
  for (auto& each : cells) {
    auto apart = static_cast<double>(each.clicks) - out.rate * static_cast<double>(each.impressions);
    squares += apart * apart;
  }
  auto m = static_cast<double>(out.buckets);
  if (out.buckets > 1)
    out.variance = squares / (shown * shown) * m / (m - 1);
  // Few or no clicks make the sample variance too small to believe.
  auto least = std::min(0.5, (static_cast<double>(out.clicks) + 1) / (shown + 2));
  out.variance = std::max(out.variance, least * (1 - least) / shown);
  return out;
}

lift lift_of(const click_rate& of, const click_rate& base) noexcept {
  if (!(base.rate > 0))
    return {0, infinity};
  auto ratio = of.rate / base.rate;
  return {ratio - 1, (of.variance + ratio * ratio * base.variance) / (base.rate * base.rate)};
}

share share_of(std::span<const click_cell> of, std::span<const click_cell> all) noexcept {
  double x = 0, y = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    x += of[i].answers;
    y += all[i].answers;
  }
  if (y == 0)
    return {0, infinity};
  auto value = x / y;
  double squares = 0, m = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto apart = of[i].answers - value * all[i].answers;
    squares += apart * apart;
    m += all[i].answers > 0;
  }
  return {value, m > 1 ? squares / (y * y) * m / (m - 1) : infinity};
}

double quantile(std::span<const std::uint64_t> bounds, std::span<const std::uint64_t> counts,
                double q) noexcept {
  double all = 0;
  for (auto each : counts)
    all += static_cast<double>(each);
  if (all == 0 || bounds.empty())
    return 0;
  auto wanted = q * all;
  double below = 0;
  for (std::size_t i = 0; i < bounds.size() && i < counts.size(); ++i) {
    auto here = static_cast<double>(counts[i]);
    if (here > 0 && below + here >= wanted) {
      auto from = i == 0 ? 0.0 : static_cast<double>(bounds[i - 1]), to = static_cast<double>(bounds[i]);
      return from + (to - from) * std::max(0.0, wanted - below) / here;
    }
    below += here;
  }
  return static_cast<double>(bounds.back());
}

std::uint64_t count_above(std::span<const std::uint64_t> bounds, std::span<const std::uint64_t> counts,
                          std::uint64_t limit) noexcept {
  std::uint64_t out = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    // Bucket i holds what is above bounds[i - 1]: all of it where the next bound is above the limit.
    bool within = i < bounds.size() && bounds[i] <= limit;
    if (!within)
      out += counts[i];
  }
  return out;
}

} // namespace troupe::deployer
