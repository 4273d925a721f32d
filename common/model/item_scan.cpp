// Compiled once for each instruction set that Highway knows: see kernels.cpp.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/model/item_scan.cpp"
#include <hwy/foreach_target.h>
// Highway's own headers come after it.
#include "common/model/item_scan.hpp"
#include "common/model/kernels.hpp"

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#ifndef TROUPE_ITEM_SCAN_ONCE
#define TROUPE_ITEM_SCAN_ONCE
namespace troupe::model {

/// What a scan knows of one search.
struct scan_side {
  const std::int32_t* pairs;
  float step, slack; ///< Upper bound of a product: (sum of whole products * step + slack) * scale of the row.
  float threshold;
};

/// What a block is shown to when some of its rows, a bit each, may be among the best: with the upper bounds
/// of its rows and their scales. Returns the threshold from then on.
using found_in_block = float (*)(void* with, std::size_t which, std::size_t block, std::uint32_t rows,
                                 const float* upper, const float* scales);

} // namespace troupe::model
#endif

HWY_BEFORE_NAMESPACE();
namespace troupe::model::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t block_rows = compact_rows::block_rows;
constexpr std::size_t fetched_ahead = 4096; // Bytes: what the processor foresees by itself comes later.
using sums_tag = hn::CappedTag<std::int32_t, block_rows>;
using float_tag = hn::Rebind<float, sums_tag>;
constexpr std::size_t lanes = hn::MaxLanes(sums_tag{});
constexpr std::size_t vectors = block_rows / lanes;

#if HWY_TARGET != HWY_SCALAR
/// Adds the products of one pair of numbers of each row with those of Q queries. Where a processor has no
/// instruction for the sum of a pair, parts of it lie in `others` until sum_of() joins them.
template <std::size_t Q>
HWY_INLINE void add_pair(const std::int8_t* HWY_RESTRICT numbers, std::size_t pair,
                         const scan_side* HWY_RESTRICT of, hn::Vec<sums_tag> (&sums)[Q][vectors],
                         hn::Vec<sums_tag> (&others)[Q][vectors]) {
  const sums_tag d;
  const hn::Repartition<std::int16_t, sums_tag> halves;
  const hn::Rebind<std::int8_t, decltype(halves)> bytes;
  for (std::size_t v = 0; v < vectors; ++v) {
    auto row = hn::PromoteTo(halves, hn::LoadU(bytes, numbers + v * 2 * lanes));
    for (std::size_t q = 0; q < Q; ++q)
      sums[q][v] = hn::ReorderWidenMulAccumulate(d, row, hn::BitCast(halves, hn::Set(d, of[q].pairs[pair])),
                                                 sums[q][v], others[q][v]);
  }
}

HWY_INLINE hn::Vec<sums_tag> sum_of(hn::Vec<sums_tag> sum, hn::Vec<sums_tag> other) {
  return hn::RearrangeToOddPlusEven(sum, other);
}
#else
template <std::size_t Q>
void add_pair(const std::int8_t* numbers, std::size_t pair, const scan_side* of,
              hn::Vec<sums_tag> (&sums)[Q][vectors], hn::Vec<sums_tag> (&)[Q][vectors]) {
  const sums_tag d;
  for (std::size_t v = 0; v < vectors; ++v)
    for (std::size_t q = 0; q < Q; ++q) {
      std::int16_t both[2];
      std::memcpy(both, of[q].pairs + pair, sizeof both);
      sums[q][v] = hn::Add(sums[q][v], hn::Set(d, numbers[2 * v] * both[0] + numbers[2 * v + 1] * both[1]));
    }
}

hn::Vec<sums_tag> sum_of(hn::Vec<sums_tag> sum, hn::Vec<sums_tag>) {
  return sum;
}
#endif

template <std::size_t Q>
void scan_for(const std::byte* block, std::size_t pairs, std::size_t first, std::size_t last, scan_side* of,
              void* with, found_in_block found) {
  const sums_tag d;
  const float_tag df;
  for (auto at = first; at < last; ++at) {
    hn::Vec<sums_tag> sums[Q][vectors], others[Q][vectors];
    for (std::size_t q = 0; q < Q; ++q)
      for (std::size_t v = 0; v < vectors; ++v)
        sums[q][v] = others[q][v] = hn::Zero(d);
    auto size = pairs * 2 * block_rows + block_rows * sizeof(float);
    for (std::size_t line = 0; line < size; line += 64)
      hwy::Prefetch(block + fetched_ahead + line);
    auto* numbers = reinterpret_cast<const std::int8_t*>(block);
    for (std::size_t p = 0; p < pairs; ++p, numbers += 2 * block_rows)
      add_pair(numbers, p, of, sums, others);
    float scales[block_rows], upper[block_rows];
    std::memcpy(scales, numbers, sizeof scales);
    for (std::size_t q = 0; q < Q; ++q) {
      auto greatest = hn::Set(df, -std::numeric_limits<float>::infinity());
      for (std::size_t v = 0; v < vectors; ++v) {
        auto sum = hn::ConvertTo(df, sum_of(sums[q][v], others[q][v]));
        auto most = hn::Mul(hn::MulAdd(sum, hn::Set(df, of[q].step), hn::Set(df, of[q].slack)),
                            hn::LoadU(df, scales + v * lanes));
        greatest = hn::Max(greatest, most);
        hn::StoreU(most, df, upper + v * lanes);
      }
      auto threshold = hn::Set(df, of[q].threshold);
      if (HWY_LIKELY(hn::AllFalse(df, hn::Gt(greatest, threshold))))
        continue;
      std::uint32_t rows = 0;
      for (std::size_t v = 0; v < vectors; ++v) {
        std::uint8_t bits[8] = {};
        hn::StoreMaskBits(df, hn::Gt(hn::LoadU(df, upper + v * lanes), threshold), bits);
        rows |= (bits[0] | static_cast<std::uint32_t>(bits[1]) << 8) << (v * lanes);
      }
      of[q].threshold = found(with, q, at, rows, upper, scales);
    }
    block += size;
  }
}

void scan(const std::byte* block, std::size_t pairs, std::size_t first, std::size_t last, scan_side* of,
          std::size_t count, void* with, found_in_block found) {
  switch (count) {
  case 1:
    return scan_for<1>(block, pairs, first, last, of, with, found);
  case 2:
    return scan_for<2>(block, pairs, first, last, of, with, found);
  case 3:
    return scan_for<3>(block, pairs, first, last, of, with, found);
  default:
    return scan_for<compact_rows::most_together>(block, pairs, first, last, of, with, found);
  }
}

} // namespace
} // namespace troupe::model::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace troupe::model {

namespace {

HWY_EXPORT(scan);

constexpr float largest_code = 127;
constexpr float smallest_scale = 1e-30f;
constexpr float smallest_step = 1e-18f; // Its square is a number to reckon with.
constexpr float rounding = 1e-5f;       // More than sums of floats lose, of a product of lengths.

float length_of(std::span<const float> vector) {
  return std::sqrt(dot(vector.data(), vector.data(), vector.size()));
}

} // namespace

void running_search::begin(std::span<const float> query, std::size_t most,
                           std::span<const std::uint64_t> allowed) {
  query_ = query;
  allowed_ = allowed;
  most_ = most;
  narrow_at_ = 2 * most + 64;
  threshold_ = -infinite;
  open_.clear();
  open_.reserve(narrow_at_);
  // Whole numbers as large as their sums allow.
  auto width = query.size();
  auto largest = std::min(32767.0f, std::floor(2147483648.0f / (128.0f * static_cast<float>(width))));
  float most_of_all = 0, lost = 0;
  for (auto each : query)
    most_of_all = std::max(most_of_all, std::abs(each));
  step_ = most_of_all / largest;
  length_ = length_of(query); // No finite number where one of the query is none.
  whole_ = std::isfinite(length_) && (most_of_all == 0 || step_ >= smallest_step);
  pairs_.assign((width + 1) / 2, 0);
  for (std::size_t i = 0; i < width; ++i) {
    auto code = whole_ && step_ > 0 ? std::nearbyint(query[i] / step_) : 0.0f;
    auto bits = static_cast<std::uint32_t>(static_cast<std::uint16_t>(static_cast<std::int16_t>(code)));
    pairs_[i / 2] |= static_cast<std::int32_t>(i % 2 == 0 ? bits : bits << 16);
    lost += (query[i] - code * step_) * (query[i] - code * step_);
  }
  lost_ = std::sqrt(lost);
}

void running_search::add(std::uint32_t row, float lower, float upper) {
  open_.push_back({row, lower, upper});
  if (open_.size() >= narrow_at_) {
    narrow();
    narrow_at_ = std::max(narrow_at_, open_.size() + most_ + 64);
  }
}

void running_search::narrow() {
  if (open_.size() < most_ || most_ == 0)
    return;
  auto last = open_.begin() + static_cast<std::ptrdiff_t>(most_ - 1);
  std::nth_element(open_.begin(), last, open_.end(), [](auto& a, auto& b) { return a.lower > b.lower; });
  threshold_ = std::max(threshold_, last->lower);
  std::erase_if(open_, [this](auto& each) { return each.upper < threshold_; });
}

void running_search::finish(std::span<const float> vectors,
                            std::vector<std::pair<std::uint32_t, float>>& found) {
  narrow();
  rows_.clear();
  for (auto& each : open_)
    rows_.push_back(each.row);
  products_.resize(rows_.size());
  products_of(vectors, rows_, query_, products_);
  found.clear();
  for (std::size_t i = 0; i < rows_.size(); ++i) // What is no number has no place in an order.
    found.emplace_back(rows_[i], std::isnan(products_[i]) ? -infinite : products_[i]);
  auto better = [](auto& a, auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  };
  auto end = found.begin() + static_cast<std::ptrdiff_t>(std::min(most_, found.size()));
  std::partial_sort(found.begin(), end, found.end(), better);
  found.erase(end, found.end());
}

compact_rows::compact_rows(std::span<const float> vectors, std::size_t width,
                           std::vector<std::uint32_t> order)
    : pairs_{(width + 1) / 2}, order_{std::move(order)} {
  rows_ = order_.empty() ? vectors.size() / width : order_.size();
  blocks_ = (rows_ + block_rows - 1) / block_rows;
  data_.resize(blocks_ * block_size());
  for (std::size_t place = 0; place < rows_; ++place) {
    auto row = order_.empty() ? place : order_[place];
    if (row == no_row)
      continue;
    auto vector = vectors.subspan(row * width, width);
    float most = 0;
    for (auto each : vector)
      most = std::max(most, std::abs(each));
    auto scale = most / largest_code;
    if (most > 0 && scale < smallest_scale)
      bounded_ = false;
    auto per_scale = scale < smallest_scale ? 0 : 1 / scale;
    auto* block = data_.data() + place / block_rows * block_size();
    auto* numbers = reinterpret_cast<std::int8_t*>(block) + place % block_rows * 2;
    float length = 0, lost = 0;
    for (std::size_t i = 0; i < width; ++i) {
      auto exact = vector[i] * per_scale;
      auto code = static_cast<float>(static_cast<int>(exact + (exact < 0 ? -0.5f : 0.5f)));
      numbers[i / 2 * 2 * block_rows + i % 2] = static_cast<std::int8_t>(code);
      length += code * code;
      lost += (exact - code) * (exact - code);
    }
    std::memcpy(block + pairs_ * 2 * block_rows + place % block_rows * sizeof(float), &scale, sizeof scale);
    longest_ = std::max(longest_, length);
    lost_ = std::max(lost_, lost);
    largest_scale_ = std::max(largest_scale_, scale);
  }
  longest_ = std::sqrt(longest_);
  lost_ = std::sqrt(lost_);
}

bool compact_rows::can_bound(const running_search& search) const noexcept {
  return bounded_ && search.whole_ && std::isfinite(4 * search.length_ * (longest_ + lost_) * largest_scale_);
}

void compact_rows::scan(std::size_t first, std::size_t last, std::span<running_search* const> of) const {
  scan_side sides[most_together];
  for (std::size_t q = 0; q < of.size(); ++q) {
    auto& search = *of[q];
    auto slack = lost_ * search.length_ + (longest_ + lost_) * (search.lost_ + rounding * search.length_);
    sides[q] = {search.pairs_.data(), search.step_, slack, search.threshold_};
  }
  struct receiver {
    const compact_rows& rows;
    std::span<running_search* const> of;
    const scan_side* sides;
  } with{*this, of, sides};
  auto found = [](void* to, std::size_t which, std::size_t block, std::uint32_t bits, const float* upper,
                  const float* scales) {
    auto& self = *static_cast<receiver*>(to);
    auto& search = *self.of[which];
    auto slack = 2 * self.sides[which].slack;
    for (; bits != 0; bits &= bits - 1) {
      auto i = static_cast<std::size_t>(std::countr_zero(bits));
      auto place = block * block_rows + i;
      if (place >= self.rows.rows_)
        break; // The last block need not be full.
      auto row = self.rows.order_.empty() ? static_cast<std::uint32_t>(place) : self.rows.order_[place];
      if (row != no_row && search.may_find(row))
        search.add(row, upper[i] - slack * scales[i], upper[i]);
    }
    return search.threshold_;
  };
  HWY_DYNAMIC_DISPATCH(scan)
  (data_.data() + first * block_size(), pairs_, first, last, sides, of.size(), &with, found);
}

} // namespace troupe::model
#endif
