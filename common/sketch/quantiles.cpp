#include "common/sketch/quantiles.hpp"

#include "common/core/bytes.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

namespace troupe::sketch {

namespace {

constexpr std::size_t least_capacity = 16;
constexpr std::size_t most_levels = 60;

} // namespace

void quantiles::add(double value) {
  levels_.front().push_back(value);
  ++kept_;
  ++count_;
  if (kept_ >= most_)
    compress();
}

void quantiles::grow() {
  levels_.emplace_back();
  capacity_.resize(levels_.size());
  // Capacities shrink by 2/3 a level from the top one, section 3 of the paper.
  for (std::size_t depth = 0; depth < levels_.size(); ++depth)
    capacity_[levels_.size() - 1 - depth] =
        std::max(least_capacity, static_cast<std::size_t>(std::ceil(k * std::pow(2.0 / 3.0, depth))));
  most_ = std::accumulate(capacity_.begin(), capacity_.end(), std::size_t{0});
}

bool quantiles::coin() noexcept {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return (random_ >> 63) != 0;
}

// Halves the lowest full level: every other value of its sorted content goes one level up; an odd one stays.
void quantiles::compress() {
  for (std::size_t h = 0; h < levels_.size(); ++h) {
    if (levels_[h].size() < capacity_[h])
      continue;
    if (h + 1 == levels_.size())
      grow();
    auto& from = levels_[h];
    auto& to = levels_[h + 1];
    std::sort(from.begin(), from.end());
    bool odd = from.size() % 2 != 0;
    double left_over = from.back();
    auto pairs = from.size() / 2;
    for (std::size_t i = coin() ? 1 : 0; i < pairs * 2; i += 2)
      to.push_back(from[i]);
    from.clear();
    if (odd)
      from.push_back(left_over);
    kept_ -= pairs;
    if (kept_ < most_)
      return;
  }
}

void quantiles::merge(const quantiles& other) {
  if (other.count_ == 0)
    return;
  if (count_ == 0) {
    *this = other;
    return;
  }
  while (levels_.size() < other.levels_.size())
    grow();
  for (std::size_t h = 0; h < other.levels_.size(); ++h)
    levels_[h].insert(levels_[h].end(), other.levels_[h].begin(), other.levels_[h].end());
  kept_ += other.kept_;
  count_ += other.count_;
  random_ ^= std::rotl(other.random_, 21);
  random_ |= 1; // An xorshift generator must never be zero.
  while (kept_ >= most_)
    compress();
}

std::vector<double> quantiles::at(std::span<const double> qs) const {
  std::vector<std::pair<double, std::uint64_t>> all;
  all.reserve(kept_);
  for (std::size_t h = 0; h < levels_.size(); ++h)
    for (auto value : levels_[h])
      all.emplace_back(value, std::uint64_t{1} << h);
  std::sort(all.begin(), all.end());
  std::vector<double> found;
  for (auto q : qs) {
    auto target =
        std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(count_))));
    std::uint64_t rank = 0;
    double answer = all.empty() ? 0 : all.back().first;
    for (auto& [value, weight] : all)
      if ((rank += weight) >= target) {
        answer = value;
        break;
      }
    found.push_back(answer);
  }
  return found;
}

void quantiles::save(store::encoder& out) const {
  out.whole(count_);
  out.fixed(random_);
  out.whole(levels_.size());
  for (auto& level : levels_) {
    out.whole(level.size());
    out.raw(as_text(std::as_bytes(std::span{level})));
  }
}

quantiles quantiles::load(store::decoder& in) {
  quantiles to;
  to.count_ = in.whole();
  to.random_ = in.fixed();
  auto levels = in.count_of(1);
  if (levels == 0 || levels > most_levels)
    in.give_up();
  std::uint64_t weight = 0;
  for (std::size_t h = 0; h < levels && in.ok(); ++h) {
    if (h > 0)
      to.grow();
    auto size = in.count_of(sizeof(double));
    auto bytes = in.raw(size * sizeof(double));
    to.levels_[h].resize(bytes.size() / sizeof(double));
    if (!bytes.empty())
      std::memcpy(to.levels_[h].data(), bytes.data(), bytes.size());
    to.kept_ += size;
    weight += static_cast<std::uint64_t>(size) << h;
  }
  if (weight != to.count_)
    in.give_up();
  return in.ok() ? to : quantiles{};
}

} // namespace troupe::sketch
