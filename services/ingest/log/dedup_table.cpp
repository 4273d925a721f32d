#include "services/ingest/log/dedup_table.hpp"

#include <algorithm>
#include <utility>

namespace troupe::ingest {

/// Where an id is, or would be.
std::size_t dedup_table::slot_of(std::uint64_t id) const noexcept {
  auto mask = slots_.size() - 1;
  auto at = id & mask;
  while (slots_[at].id != 0 && slots_[at].id != id)
    at = (at + 1) & mask;
  return at;
}

std::optional<std::uint32_t> dedup_table::find(std::uint64_t id) const noexcept {
  if (slots_.empty())
    return std::nullopt;
  auto& found = slots_[slot_of(id)];
  return found.id == id ? std::optional{found.content} : std::nullopt;
}

std::optional<std::uint32_t> dedup_table::add(dedup_entry entry) {
  if (4 * (size_ + 1) > 3 * slots_.size())
    grow();
  auto& found = slots_[slot_of(entry.id)];
  if (found.id == entry.id)
    return found.content;
  found = entry;
  ++size_;
  return std::nullopt;
}

void dedup_table::erase(std::uint64_t id) noexcept {
  if (slots_.empty())
    return;
  auto mask = slots_.size() - 1;
  auto gap = slot_of(id);
  if (slots_[gap].id != id)
    return;
  --size_;
  // Whoever stands behind the gap because somebody was there moves up.
  for (auto at = (gap + 1) & mask; slots_[at].id != 0; at = (at + 1) & mask)
    if (((at - slots_[at].id) & mask) >= ((at - gap) & mask)) {
      slots_[gap] = slots_[at];
      gap = at;
    }
  slots_[gap] = {};
}

std::vector<dedup_entry> dedup_table::sorted() const {
  std::vector<dedup_entry> all;
  all.reserve(size_);
  std::ranges::copy_if(slots_, std::back_inserter(all), [](auto& each) { return each.id != 0; });
  std::ranges::sort(all, {}, &dedup_entry::id);
  return all;
}

void dedup_table::grow() {
  auto before =
      std::exchange(slots_, std::vector<dedup_entry>(std::max<std::size_t>(1024, 2 * slots_.size())));
  for (auto& each : before)
    if (each.id != 0)
      slots_[slot_of(each.id)] = each;
}

} // namespace troupe::ingest
