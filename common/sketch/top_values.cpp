#include "common/sketch/top_values.hpp"

#include <algorithm>

namespace troupe::sketch {

top_values::entry& top_values::slot_of(std::uint64_t hash) noexcept {
  auto at = hash % slots;
  while (table_[at].count != 0 && table_[at].hash != hash)
    at = (at + 1) % slots;
  return table_[at];
}

void top_values::add(std::uint64_t hash, std::string_view value, std::uint64_t times) {
  if (times == 0)
    return;
  if (table_.empty())
    table_.resize(slots);
  auto& slot = slot_of(hash);
  if (slot.count == 0) {
    slot.hash = hash;
    slot.value.assign(value.substr(0, longest));
    ++used_;
  }
  slot.count += times;
  if (used_ > capacity)
    prune();
}

// Takes the median count from every entry and lets go of what reaches zero.
void top_values::prune() {
  std::vector<entry> kept;
  kept.reserve(used_);
  for (auto& each : table_)
    if (each.count != 0)
      kept.push_back(std::move(each));
  std::vector<std::uint64_t> counts;
  for (auto& each : kept)
    counts.push_back(each.count);
  auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
  std::nth_element(counts.begin(), middle, counts.end());
  auto taken = *middle;
  shortfall_ += taken;
  for (auto& each : table_)
    each.count = 0;
  used_ = 0;
  for (auto& each : kept)
    if (each.count > taken) {
      auto& slot = slot_of(each.hash);
      slot.hash = each.hash;
      slot.count = each.count - taken;
      slot.value = std::move(each.value);
      ++used_;
    }
}

void top_values::merge(const top_values& other) {
  // In order of frequency, so that a prune on the way costs the rare ones.
  for (auto& each : other.list(capacity))
    add(each.hash, each.value, each.count);
  shortfall_ += other.shortfall_;
}

std::vector<top_values::entry> top_values::list(std::size_t limit) const {
  std::vector<entry> all;
  for (auto& each : table_)
    if (each.count != 0)
      all.push_back(each);
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) {
    return a.count != b.count ? a.count > b.count : a.value != b.value ? a.value < b.value : a.hash < b.hash;
  });
  all.resize(std::min(all.size(), limit));
  return all;
}

void top_values::save(store::encoder& out) const {
  out.whole(shortfall_);
  auto all = list(capacity);
  out.whole(all.size());
  for (auto& each : all) {
    out.fixed(each.hash);
    out.whole(each.count);
    out.text(each.value);
  }
}

top_values top_values::load(store::decoder& in) {
  top_values to;
  auto shortfall = in.whole();
  auto size = in.count_of(10);
  if (size > capacity)
    in.give_up();
  for (std::size_t i = 0; i < size && in.ok(); ++i) {
    auto hash = in.fixed();
    auto count = in.whole();
    to.add(hash, in.text(), count);
  }
  to.shortfall_ = shortfall;
  return in.ok() ? to : top_values{};
}

} // namespace troupe::sketch
