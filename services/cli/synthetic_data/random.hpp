#pragma once

#include <cstdint>

namespace troupe::synthetic_data {

__extension__ typedef unsigned __int128 wide;

/// SplitMix64 (Steele, Lea, Flood 2014): integer arithmetic only, so the same numbers on every machine.
class random {
public:
  /// Streams with different `stream` numbers are independent.
  explicit random(std::uint64_t seed, std::uint64_t stream = 0) noexcept
      : state_{mix(seed) ^ mix(stream * 0x9e3779b97f4a7c15ULL + 0x632be59bd9b4e019ULL)} {}

  std::uint64_t next() noexcept { return mix(state_ += 0x9e3779b97f4a7c15ULL); }

  /// 0 <= x < 1, a multiple of 2^-53.
  double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

  /// 0 <= x < `bound`, which must be positive.
  std::uint64_t below(std::uint64_t bound) noexcept {
    return static_cast<std::uint64_t>((static_cast<wide>(next()) * bound) >> 64);
  }

  /// Mean 0, variance 1, |x| <= 6: the sum of twelve uniforms, which needs no library of mathematics.
  double normal() noexcept {
    double sum = -6;
    for (int i = 0; i < 12; ++i)
      sum += uniform();
    return sum;
  }

  /// Mean 1.
  double exponential() noexcept;

  static std::uint64_t mix(std::uint64_t x) noexcept {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
  }

private:
  std::uint64_t state_;
};

/// e^x from additions, multiplications and divisions alone: the same bits wherever doubles are IEEE 754.
double exact_exp(double x) noexcept;

/// The natural logarithm of x > 0, likewise.
double exact_log(double x) noexcept;

/// 1 / (1 + e^-x), likewise.
double sigmoid(double x) noexcept;

/// Ranks 1..count with probability proportional to rank^-exponent, in constant memory.
/// Sampling: rejection-inversion (Hoermann and Derflinger, 1996).
class zipf {
public:
  /// `count` > 0, `exponent` > 0. Takes time proportional to `count` once, for the normaliser.
  zipf(std::uint64_t count, double exponent);

  std::uint64_t sample(random& source) const noexcept;
  double probability(std::uint64_t rank) const noexcept;

private:
  double integral(double x) const noexcept;
  double inverse(double x) const noexcept;
  double weight(double x) const noexcept;

  double count_;
  double exponent_;
  double lowest_;
  double highest_;
  double shortcut_;
  double normaliser_;
};

/// A keyed permutation of 0..count-1 in constant memory: a Feistel network that walks until it is in range.
class permutation {
public:
  permutation(std::uint64_t count, std::uint64_t key) noexcept;

  std::uint64_t forward(std::uint64_t x) const noexcept;
  std::uint64_t backward(std::uint64_t x) const noexcept;

private:
  static constexpr int rounds = 4;
  std::uint64_t round(std::uint64_t half, int index) const noexcept;

  std::uint64_t count_;
  std::uint64_t key_;
  unsigned half_bits_ = 1;
};

} // namespace troupe::synthetic_data
