#include "services/feature_store/online/entity_table.hpp"

#include <malloc.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace troupe::feature_store {

namespace {

// User space has 47 bits of address on x86-64 and 48 on arm64: above them there is room for 16 of the hash.
static_assert(sizeof(std::uintptr_t) == 8);
constexpr unsigned tag_shift = 48;
constexpr std::uintptr_t pointer_mask = (std::uintptr_t{1} << tag_shift) - 1;

entity_block* block_in(std::uintptr_t slot) noexcept {
  return reinterpret_cast<entity_block*>(slot & pointer_mask);
}

/// A part of the hash that neither the place in the table nor the owner's choice of table uses.
std::uintptr_t tag_of(std::uint64_t hash) noexcept {
  return (hash >> 32) << tag_shift;
}

/// Of the heap's own book-keeping, per piece.
constexpr std::size_t piece_overhead = 8;

} // namespace

std::string_view entity_block::id() const noexcept {
  return {reinterpret_cast<const char*>(sizes() + std::popcount(held_)), id_size_};
}

std::string_view entity_block::state(std::uint32_t view) const noexcept {
  auto bit = std::uint32_t{1} << view;
  if ((held_ & bit) == 0)
    return {};
  auto before = static_cast<std::size_t>(std::popcount(held_ & (bit - 1)));
  auto* at = id().data() + id_size_;
  for (std::size_t i = 0; i < before; ++i)
    at += sizes()[i];
  return {at, sizes()[before]};
}

std::size_t entity_block::bytes() const noexcept {
  return malloc_usable_size(const_cast<entity_block*>(this)) + piece_overhead;
}

entity_table::~entity_table() {
  for (auto slot : slots_)
    std::free(block_in(slot));
}

entity_block* entity_table::find(std::uint64_t hash, std::uint32_t group,
                                 std::string_view id) const noexcept {
  if (slots_.empty())
    return nullptr;
  auto tag = tag_of(hash);
  for (auto at = home(static_cast<std::uint32_t>(hash)); slots_[at] != 0;
       at = at + 1 == slots_.size() ? 0 : at + 1)
    if ((slots_[at] & ~pointer_mask) == tag)
      if (auto* block = block_in(slots_[at]); block->group_ == group && block->id() == id)
        return block;
  return nullptr;
}

void entity_table::prefetch_slot(std::uint64_t hash) const noexcept {
  if (!slots_.empty())
    __builtin_prefetch(&slots_[home(static_cast<std::uint32_t>(hash))]);
}

void entity_table::prefetch_block(std::uint64_t hash) const noexcept {
  if (slots_.empty())
    return;
  auto tag = tag_of(hash);
  for (auto at = home(static_cast<std::uint32_t>(hash)); slots_[at] != 0;
       at = at + 1 == slots_.size() ? 0 : at + 1)
    if ((slots_[at] & ~pointer_mask) == tag) {
      auto* bytes = reinterpret_cast<const char*>(block_in(slots_[at]));
      for (std::size_t line = 0; line < 6; ++line) // Most are no longer.
        __builtin_prefetch(bytes + 64 * line);
      return;
    }
}

entity_block* entity_table::put(entity_block* old, std::uint64_t hash, std::uint32_t group,
                                std::string_view id, std::uint32_t known,
                                std::span<const state_change> changes) {
  auto held = old ? old->held_ : 0;
  std::size_t size = sizeof(entity_block) + id.size();
  for (auto& each : changes) {
    auto bit = std::uint32_t{1} << each.view;
    known |= bit;
    held = each.state.empty() ? held & ~bit : held | bit;
  }
  std::string_view states[32];
  auto change = changes.begin();
  for (auto left = held; left != 0; left &= left - 1) {
    auto view = static_cast<std::uint32_t>(std::countr_zero(left));
    while (change != changes.end() && change->view < view)
      ++change;
    states[view] = change != changes.end() && change->view == view ? change->state : old->state(view);
    size += sizeof(std::uint32_t) + states[view].size();
  }
  auto* memory = std::malloc(size);
  if (!memory)
    throw std::bad_alloc{};
  auto* fresh = new (memory) entity_block;
  if (old) {
    fresh->changed = old->changed;
    fresh->changed_at = old->changed_at;
    fresh->known_ = old->known_;
  }
  fresh->hash_ = static_cast<std::uint32_t>(hash);
  fresh->known_ |= known;
  fresh->held_ = held;
  fresh->id_size_ = static_cast<std::uint16_t>(id.size());
  fresh->group_ = static_cast<std::uint8_t>(group);
  auto* sizes = reinterpret_cast<std::uint32_t*>(fresh + 1);
  auto* bytes = reinterpret_cast<char*>(sizes + std::popcount(held));
  auto write = [&bytes](std::string_view part) {
    if (!part.empty())
      std::memcpy(bytes, part.data(), part.size());
    bytes += part.size();
  };
  write(id);
  for (auto left = held; left != 0; left &= left - 1) {
    auto state = states[std::countr_zero(left)];
    *sizes++ = static_cast<std::uint32_t>(state.size());
    write(state);
  }
  bytes_ += fresh->bytes();
  states_ += static_cast<std::size_t>(std::popcount(held));
  if (old) {
    bytes_ -= old->bytes();
    states_ -= static_cast<std::size_t>(std::popcount(old->held_));
    auto& slot = slots_[slot_of(old)];
    slot = (slot & ~pointer_mask) | reinterpret_cast<std::uintptr_t>(fresh);
    std::free(old);
    return fresh;
  }
  if ((count_ + 1) * 5 > slots_.size() * 4)
    grow();
  place(reinterpret_cast<std::uintptr_t>(fresh) | tag_of(hash), fresh->hash_);
  ++count_;
  return fresh;
}

std::size_t entity_table::slot_of(const entity_block* block) const noexcept {
  auto at = home(block->hash_);
  while (block_in(slots_[at]) != block)
    at = at + 1 == slots_.size() ? 0 : at + 1;
  return at;
}

void entity_table::place(std::uintptr_t slot, std::uint32_t hash) {
  auto at = home(hash);
  while (slots_[at] != 0)
    at = at + 1 == slots_.size() ? 0 : at + 1;
  slots_[at] = slot;
}

void entity_table::grow() {
  auto before = std::move(slots_);
  slots_.assign(std::max<std::size_t>(16, before.size() + before.size() / 2), 0);
  bytes_ += (slots_.size() - before.size()) * sizeof(std::uintptr_t);
  for (auto slot : before)
    if (slot != 0)
      place(slot, block_in(slot)->hash_);
}

/// Those that stand behind it because their place was taken move up, so that no search ends too early.
void entity_table::remove(std::size_t at) {
  auto* gone = block_in(slots_[at]);
  bytes_ -= gone->bytes();
  states_ -= static_cast<std::size_t>(std::popcount(gone->held_));
  --count_;
  std::free(gone);
  auto next = [&](std::size_t i) { return i + 1 == slots_.size() ? 0 : i + 1; };
  auto distance = [&](std::size_t from, std::size_t to) {
    return to >= from ? to - from : to + slots_.size() - from;
  };
  auto hole = at;
  for (auto i = next(hole); slots_[i] != 0; i = next(i)) {
    auto wanted = home(block_in(slots_[i])->hash_);
    if (distance(wanted, i) >= distance(hole, i)) {
      slots_[hole] = slots_[i];
      hole = i;
    }
  }
  slots_[hole] = 0;
}

bool entity_table::evict() {
  for (std::size_t steps = 0; steps < 64 && !slots_.empty(); ++steps) {
    if (hand_ >= slots_.size())
      hand_ = 0;
    auto* block = block_in(slots_[hand_]);
    if (block && !block->used && block->changed == 0) {
      remove(hand_); // The next may have moved here.
      return true;
    }
    if (block)
      block->used = false;
    ++hand_;
  }
  return false;
}

} // namespace troupe::feature_store
