#include "services/ranker/items/text_numbers.hpp"

#include "common/core/hash.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace troupe::ranker {

/// Open addressing. A slot is 0, or the upper half of the hash and the number plus 1.
struct text_numbers::table {
  explicit table(std::size_t slots)
      : mask{slots - 1}, all{std::make_unique<std::atomic<std::uint64_t>[]>(slots)} {}

  void put(std::uint64_t hash, std::uint32_t number) noexcept {
    auto at = hash & mask;
    while (all[at].load(std::memory_order_relaxed) != 0)
      at = (at + 1) & mask;
    all[at].store((hash & 0xffff'ffff'0000'0000U) | (number + std::uint64_t{1}), std::memory_order_release);
  }

  std::size_t mask;
  std::unique_ptr<std::atomic<std::uint64_t>[]> all;
};

namespace {

/// The segment of a number, and its place there: segments have 1, 2, 4... times the length of the first.
std::pair<std::size_t, std::size_t> place_of(std::uint32_t number, std::size_t first) noexcept {
  auto block = number / first + 1;
  auto segment = static_cast<std::size_t>(std::bit_width(block)) - 1;
  return {segment, number - first * ((std::size_t{1} << segment) - 1)};
}

} // namespace

text_numbers::text_numbers() {
  tables_.push_back(std::make_unique<table>(2 * first_segment));
  table_.store(tables_.back().get(), std::memory_order_release);
}

text_numbers::~text_numbers() = default;

std::uint32_t text_numbers::find_in(const table& in, std::string_view text,
                                    std::uint64_t hash) const noexcept {
  for (auto at = hash & in.mask;; at = (at + 1) & in.mask) {
    auto slot = in.all[at].load(std::memory_order_acquire);
    if (slot == 0)
      return none;
    if (((slot ^ hash) >> 32) != 0)
      continue;
    auto number = static_cast<std::uint32_t>(slot) - 1;
    if (this->text(number) == text)
      return number;
  }
}

std::uint32_t text_numbers::find(std::string_view text) const noexcept {
  return find_in(*table_.load(std::memory_order_acquire), text, hash64(text));
}

std::string_view text_numbers::text(std::uint32_t number) const noexcept {
  auto [segment, place] = place_of(number, first_segment);
  return segments_[segment].load(std::memory_order_acquire)[place];
}

std::uint32_t text_numbers::add(std::string_view text) {
  auto hash = hash64(text);
  if (auto known = find_in(*table_.load(std::memory_order_acquire), text, hash); known != none)
    return known;
  std::lock_guard lock{adding_};
  if (auto known = find_in(*tables_.back(), text, hash); known != none)
    return known;
  auto number = size_.load(std::memory_order_relaxed);
  auto [segment, place] = place_of(number, first_segment);
  if (segment == kept_segments_.size()) {
    kept_segments_.push_back(std::make_unique<std::string_view[]>(first_segment << segment));
    segments_[segment].store(kept_segments_.back().get(), std::memory_order_release);
  }
  kept_segments_[segment][place] = keep(text);
  if (auto slots = tables_.back()->mask + 1; (number + std::size_t{1}) * 2 > slots) {
    auto wider = std::make_unique<table>(2 * slots);
    for (std::uint32_t each = 0; each < number; ++each)
      wider->put(hash64(this->text(each)), each);
    tables_.push_back(std::move(wider));
  }
  tables_.back()->put(hash, number);
  size_.store(number + 1, std::memory_order_release);
  table_.store(tables_.back().get(), std::memory_order_release);
  return number;
}

std::string_view text_numbers::keep(std::string_view text) {
  if (text.size() > left_) {
    auto bytes = std::max(arena_bytes, text.size());
    arenas_.push_back(std::make_unique_for_overwrite<char[]>(bytes));
    free_ = arenas_.back().get();
    left_ = bytes;
  }
  auto* at = free_;
  std::copy(text.begin(), text.end(), at);
  free_ += text.size();
  left_ -= text.size();
  return {at, text.size()};
}

} // namespace troupe::ranker
