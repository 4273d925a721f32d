#include "services/cli/synthetic_data/random.hpp"

#include <cmath>

namespace troupe::synthetic_data {

namespace {

/// (e^x - 1) / x, continuous at 0.
double exp_slope(double x) noexcept {
  return std::fabs(x) > 1e-8 ? (exact_exp(x) - 1) / x : 1 + x / 2 * (1 + x / 3);
}

/// log(1 + x) / x, continuous at 0.
double log_slope(double x) noexcept {
  return std::fabs(x) > 1e-8 ? exact_log(1 + x) / x : 1 - x * (0.5 - x / 3);
}

} // namespace

double exact_exp(double x) noexcept {
  constexpr double log2_high = 0x1.62e42feep-1;
  constexpr double log2_low = 0x1.a39ef35793c76p-33;
  if (x < -700)
    return 0;
  if (x > 700)
    x = 700;
  auto power = std::floor(x * 1.4426950408889634 + 0.5);
  auto rest = (x - power * log2_high) - power * log2_low;
  double sum = 1;
  for (int n = 14; n > 0; --n)
    sum = 1 + sum * rest / n;
  return std::ldexp(sum, static_cast<int>(power));
}

double exact_log(double x) noexcept {
  int power = 0;
  auto mantissa = std::frexp(x, &power);
  if (mantissa < 0.70710678118654752) {
    mantissa *= 2;
    --power;
  }
  auto s = (mantissa - 1) / (mantissa + 1);
  auto square = s * s;
  double sum = 0;
  for (int n = 23; n > 0; n -= 2)
    sum = sum * square + 1.0 / n;
  return 2 * s * sum + power * 0.69314718055994531;
}

double sigmoid(double x) noexcept {
  return 1 / (1 + exact_exp(-x));
}

double random::exponential() noexcept {
  return -exact_log(1 - uniform());
}

zipf::zipf(std::uint64_t count, double exponent)
    : count_{static_cast<double>(count)}, exponent_{exponent}, lowest_{integral(1.5) - 1},
      highest_{integral(count_ + 0.5)}, shortcut_{2 - inverse(integral(2.5) - weight(2))}, normaliser_{0} {
  // From the small terms to the large ones: the sum keeps its digits.
  for (auto rank = count; rank > 0; --rank)
    normaliser_ += weight(static_cast<double>(rank));
}

double zipf::weight(double x) const noexcept {
  return exact_exp(-exponent_ * exact_log(x));
}

double zipf::integral(double x) const noexcept {
  auto log_x = exact_log(x);
  return exp_slope((1 - exponent_) * log_x) * log_x;
}

double zipf::inverse(double x) const noexcept {
  auto t = x * (1 - exponent_);
  if (t < -1)
    t = -1; // Rounding only: the integral never reaches its pole.
  return t <= -1 ? count_ : exact_exp(log_slope(t) * x);
}

std::uint64_t zipf::sample(random& source) const noexcept {
  for (;;) {
    auto u = highest_ + source.uniform() * (lowest_ - highest_);
    auto x = inverse(u);
    auto rank = std::floor(x + 0.5);
    if (rank < 1)
      rank = 1;
    if (rank > count_)
      rank = count_;
    if (rank - x <= shortcut_ || u >= integral(rank + 0.5) - weight(rank))
      return static_cast<std::uint64_t>(rank);
  }
}

double zipf::probability(std::uint64_t rank) const noexcept {
  return weight(static_cast<double>(rank)) / normaliser_;
}

permutation::permutation(std::uint64_t count, std::uint64_t key) noexcept : count_{count}, key_{key} {
  while (half_bits_ < 32 && (std::uint64_t{1} << (2 * half_bits_)) < count)
    ++half_bits_;
}

std::uint64_t permutation::round(std::uint64_t half, int index) const noexcept {
  auto mask = (std::uint64_t{1} << half_bits_) - 1;
  return random::mix(half + key_ + static_cast<std::uint64_t>(index) * 0x9e3779b97f4a7c15ULL) & mask;
}

std::uint64_t permutation::forward(std::uint64_t x) const noexcept {
  auto mask = (std::uint64_t{1} << half_bits_) - 1;
  do {
    auto left = x >> half_bits_;
    auto right = x & mask;
    for (int i = 0; i < rounds; ++i) {
      auto next = left ^ round(right, i);
      left = right;
      right = next;
    }
    x = (left << half_bits_) | right;
  } while (x >= count_);
  return x;
}

std::uint64_t permutation::backward(std::uint64_t x) const noexcept {
  auto mask = (std::uint64_t{1} << half_bits_) - 1;
  do {
    auto left = x >> half_bits_;
    auto right = x & mask;
    for (int i = rounds - 1; i >= 0; --i) {
      auto previous = right ^ round(left, i);
      right = left;
      left = previous;
    }
    x = (left << half_bits_) | right;
  } while (x >= count_);
  return x;
}

} // namespace troupe::synthetic_data
