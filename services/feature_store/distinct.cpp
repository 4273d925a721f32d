#include "services/feature_store/distinct.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace troupe::feature_store {

void distinct_sketch::add(std::uint64_t hash) {
  if (!exact())
    return add_register(hash);
  auto at = std::lower_bound(hashes_.begin(), hashes_.end(), hash);
  if (at != hashes_.end() && *at == hash)
    return;
  hashes_.insert(at, hash);
  if (hashes_.size() > exact_limit)
    widen();
}

void distinct_sketch::merge(const distinct_sketch& other) {
  if (other.exact()) {
    for (auto hash : other.hashes_)
      add(hash);
    return;
  }
  if (exact())
    widen();
  for (std::size_t i = 0; i < registers_.size(); ++i)
    registers_[i] = std::max(registers_[i], other.registers_[i]);
}

double distinct_sketch::estimate() const {
  if (exact())
    return static_cast<double>(hashes_.size());
  double sum = 0;
  std::size_t zeros = 0;
  for (auto rank : registers_) {
    sum += std::ldexp(1.0, -rank);
    zeros += rank == 0;
  }
  double m = static_cast<double>(registers_.size());
  double raw = 0.7213 / (1 + 1.079 / m) * m * m / sum;
  if (raw <= 2.5 * m && zeros > 0)
    return std::round(m * std::log(m / static_cast<double>(zeros)));
  return std::round(raw);
}

void distinct_sketch::add_register(std::uint64_t hash) {
  auto rest = (hash << precision) | (std::uint64_t{1} << (precision - 1));
  auto rank = static_cast<std::uint8_t>(std::countl_zero(rest) + 1);
  auto& cell = registers_[hash >> (64 - precision)];
  cell = std::max(cell, rank);
}

void distinct_sketch::widen() {
  registers_.assign(std::size_t{1} << precision, 0);
  for (auto hash : hashes_)
    add_register(hash);
  hashes_ = {};
}

void distinct_sketch::encode(store::encoder& out) const {
  if (exact()) {
    out.whole(hashes_.size());
    for (auto hash : hashes_)
      out.fixed(hash);
    return;
  }
  out.whole(exact_limit + 1);
  out.raw({reinterpret_cast<const char*>(registers_.data()), registers_.size()});
}

distinct_sketch distinct_sketch::decode(store::decoder& in) {
  distinct_sketch sketch;
  auto size = in.whole();
  if (size <= exact_limit) {
    if (size * 8 > in.left()) {
      in.give_up();
      return sketch;
    }
    sketch.hashes_.resize(size);
    for (auto& hash : sketch.hashes_)
      hash = in.fixed();
    return sketch;
  }
  auto raw = in.raw(std::size_t{1} << precision);
  if (in.ok())
    sketch.registers_.assign(raw.begin(), raw.end());
  return sketch;
}

} // namespace troupe::feature_store
