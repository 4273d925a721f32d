#pragma once

#include "common/store/codec.hpp"

#include <array>
#include <cstdint>

namespace troupe::sketch {

/// Counts in at most 64 bins of equal width, where the width is the smallest power of two that spans the
/// values seen and bins start at whole multiples of it. The bins are a function of the least and greatest
/// value alone, wider bins are unions of narrower ones, and so every count is exact and merging equals adding
/// both streams, exactly. Not thread-safe; values must be finite.
class histogram {
public:
  static constexpr std::size_t most_bins = 64;

  void add(double value) noexcept;
  void merge(const histogram& other) noexcept;

  bool empty() const noexcept { return total_ == 0; }
  double width() const noexcept;
  double start() const noexcept;     ///< Lower edge of the first bin.
  std::size_t bins() const noexcept; ///< From the first bin in use to the last.
  std::uint64_t operator[](std::size_t bin) const noexcept { return counts_[bin]; }

  void save(store::encoder& out) const;
  static histogram load(store::decoder& in);

  friend bool operator==(const histogram&, const histogram&) = default;

private:
  void fit(double least, double greatest) noexcept;

  std::uint64_t total_ = 0;
  double least_ = 0;
  double greatest_ = 0;
  int exponent_ = 0; // Bin width 2^exponent_.
  double scale_ = 1; // 2^-exponent_.
  double first_ = 0; // Lower edge of bin 0, in widths.
  std::array<std::uint64_t, most_bins> counts_{};
};

} // namespace troupe::sketch
