#include "common/sketch/distinct.hpp"

#include "common/core/bytes.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>

namespace troupe::sketch {

namespace {

constexpr std::size_t register_count = std::size_t{1} << distinct::precision;
constexpr unsigned last_rank = 64 - distinct::precision + 1;

// Ertl 2017, equations (10) and (11).
double sigma(double x) noexcept {
  if (x == 1)
    return std::numeric_limits<double>::infinity();
  double y = 1, z = x, before;
  do {
    x *= x;
    before = z;
    z += x * y;
    y += y;
  } while (z != before);
  return z;
}

double tau(double x) noexcept {
  if (x == 0 || x == 1)
    return 0;
  double y = 1, z = 1 - x, before;
  do {
    x = std::sqrt(x);
    before = z;
    y *= 0.5;
    z -= (1 - x) * (1 - x) * y;
  } while (z != before);
  return z / 3;
}

} // namespace

void distinct::add(std::uint64_t hash) {
  if (!registers_.empty())
    return add_register(hash);
  auto at = std::lower_bound(seen_.begin(), seen_.end(), hash);
  if (at != seen_.end() && *at == hash)
    return;
  if (seen_.size() == exact_limit) {
    leave_exact();
    return add_register(hash);
  }
  seen_.insert(at, hash);
}

void distinct::add_register(std::uint64_t hash) noexcept {
  auto index = hash >> (64 - precision);
  auto rank = static_cast<std::uint8_t>(
      std::countl_zero((hash << precision) | (std::uint64_t{1} << (precision - 1))) + 1);
  registers_[index] = std::max(registers_[index], rank);
}

void distinct::leave_exact() {
  registers_.assign(register_count, 0);
  for (auto hash : seen_)
    add_register(hash);
  seen_ = {};
}

void distinct::merge(const distinct& other) {
  if (other.exact()) {
    for (auto hash : other.seen_)
      add(hash);
    return;
  }
  if (exact())
    leave_exact();
  for (std::size_t i = 0; i < register_count; ++i)
    registers_[i] = std::max(registers_[i], other.registers_[i]);
}

double distinct::estimate() const noexcept {
  if (exact())
    return static_cast<double>(seen_.size());
  std::array<double, last_rank + 1> histogram{};
  for (auto rank : registers_)
    ++histogram[rank];
  constexpr double m = register_count;
  double z = m * tau(1 - histogram[last_rank] / m);
  for (unsigned k = last_rank - 1; k >= 1; --k)
    z = 0.5 * (z + histogram[k]);
  z += m * sigma(histogram[0] / m);
  return m * m / (2 * std::numbers::ln2 * z);
}

void distinct::save(store::encoder& out) const {
  out.octet(exact() ? 0 : 1);
  if (!exact()) {
    out.raw(as_text(std::as_bytes(std::span{registers_})));
    return;
  }
  out.whole(seen_.size());
  for (auto hash : seen_)
    out.fixed(hash);
}

distinct distinct::load(store::decoder& in) {
  distinct to;
  if (in.octet() == 0) {
    auto size = in.count_of(sizeof(std::uint64_t));
    if (size > exact_limit)
      in.give_up();
    to.seen_.resize(in.ok() ? size : 0);
    for (auto& hash : to.seen_)
      hash = in.fixed();
    if (!std::is_sorted(to.seen_.begin(), to.seen_.end()))
      in.give_up();
    return to;
  }
  auto bytes = in.raw(register_count);
  to.registers_.assign(bytes.begin(), bytes.end());
  if (std::any_of(to.registers_.begin(), to.registers_.end(), [](auto rank) { return rank > last_rank; }))
    in.give_up();
  return in.ok() ? to : distinct{};
}

} // namespace troupe::sketch
