#include "common/sketch/histogram.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::sketch {

namespace {

constexpr int least_exponent = -1000;

int log2_of(double magnitude) noexcept {
  return magnitude > 0 ? std::ilogb(magnitude) : least_exponent;
}

} // namespace

void histogram::add(double value) noexcept {
  if (total_ == 0)
    fit(value, value);
  else if (value < least_ || value > greatest_)
    fit(std::min(value, least_), std::max(value, greatest_));
  ++total_;
  ++counts_[static_cast<std::size_t>(std::floor(value * scale_) - first_)];
}

// Takes the narrowest bins that span [least, greatest] and moves the counts into them.
void histogram::fit(double least, double greatest) noexcept {
  // Bin numbers stay below 2^51, where doubles are exact.
  auto exponent = std::max({least_exponent, log2_of(std::max(std::abs(least), std::abs(greatest))) - 50,
                            log2_of(greatest / 2 - least / 2) + 1 - 6});
  while (std::floor(std::ldexp(greatest, -exponent)) - std::floor(std::ldexp(least, -exponent)) >= most_bins)
    ++exponent;
  auto first = std::floor(std::ldexp(least, -exponent));
  if (total_ > 0 && (exponent != exponent_ || first != first_)) {
    std::array<std::uint64_t, most_bins> moved{};
    for (std::size_t i = 0; i < most_bins; ++i)
      if (counts_[i] != 0)
        moved[static_cast<std::size_t>(
            std::floor(std::ldexp(first_ + static_cast<double>(i), exponent_ - exponent)) - first)] +=
            counts_[i];
    counts_ = moved;
  }
  least_ = least;
  greatest_ = greatest;
  exponent_ = exponent;
  scale_ = std::ldexp(1.0, -exponent);
  first_ = first;
}

void histogram::merge(const histogram& other) noexcept {
  if (other.total_ == 0)
    return;
  if (total_ == 0) {
    *this = other;
    return;
  }
  auto moved = other;
  auto least = std::min(least_, other.least_), greatest = std::max(greatest_, other.greatest_);
  fit(least, greatest);
  moved.fit(least, greatest);
  for (std::size_t i = 0; i < most_bins; ++i)
    counts_[i] += moved.counts_[i];
  total_ += moved.total_;
}

double histogram::width() const noexcept {
  return std::ldexp(1.0, exponent_);
}

double histogram::start() const noexcept {
  return std::ldexp(first_, exponent_);
}

std::size_t histogram::bins() const noexcept {
  return total_ == 0 ? 0 : static_cast<std::size_t>(std::floor(greatest_ * scale_) - first_) + 1;
}

void histogram::save(store::encoder& out) const {
  out.whole(total_);
  if (total_ == 0)
    return;
  out.real(least_);
  out.real(greatest_);
  for (std::size_t i = 0; i < bins(); ++i)
    out.whole(counts_[i]);
}

histogram histogram::load(store::decoder& in) {
  histogram to;
  auto total = in.whole();
  if (total == 0)
    return to;
  auto least = in.real(), greatest = in.real();
  if (!std::isfinite(least) || !std::isfinite(greatest) || least > greatest) {
    in.give_up();
    return to;
  }
  to.fit(least, greatest);
  to.total_ = total;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < to.bins(); ++i)
    sum += to.counts_[i] = in.whole();
  if (sum != total)
    in.give_up();
  return in.ok() ? to : histogram{};
}

} // namespace troupe::sketch
