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
/// What pieces are filled up to, with that.
constexpr std::size_t room = 32;

} // namespace

std::size_t entity_block::sizes_bytes() const noexcept {
  return static_cast<std::size_t>(std::popcount(held_)) * (wide_ ? 4 : 2);
}

std::size_t entity_block::size_of(std::size_t state) const noexcept {
  auto* at = reinterpret_cast<const char*>(this + 1);
  if (wide_) {
    std::uint32_t size = 0;
    std::memcpy(&size, at + 4 * state, 4);
    return size;
  }
  std::uint16_t size = 0;
  std::memcpy(&size, at + 2 * state, 2);
  return size;
}

std::string_view entity_block::id() const noexcept {
  return {reinterpret_cast<const char*>(this + 1) + sizes_bytes(), id_size_};
}

std::string_view entity_block::state(std::uint32_t view) const noexcept {
  auto bit = std::uint32_t{1} << view;
  if ((held_ & bit) == 0)
    return {};
  auto before = static_cast<std::size_t>(std::popcount(held_ & (bit - 1)));
  auto* at = id().data() + id_size_;
  for (std::size_t i = 0; i < before; ++i)
    at += size_of(i);
  return {at, size_of(before)};
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
  std::uint32_t held = old ? old->held_ : 0;
  for (auto& each : changes) {
    auto bit = std::uint32_t{1} << each.view;
    known |= bit;
    held = each.state.empty() ? held & ~bit : held | bit;
  }
  std::string_view states[views_per_group];
  std::size_t size = sizeof(entity_block) + id.size();
  bool wide = false;
  auto change = changes.begin();
  for (auto left = held; left != 0; left &= left - 1) {
    auto view = static_cast<std::uint32_t>(std::countr_zero(left));
    while (change != changes.end() && change->view < view)
      ++change;
    states[view] = change != changes.end() && change->view == view ? change->state : old->state(view);
    size += states[view].size();
    wide = wide || states[view].size() > 0xffff;
  }
  size += static_cast<std::size_t>(std::popcount(held)) * (wide ? 4 : 2);
  entity_block head;
  if (old)
    head = *old;
  head.hash_ = static_cast<std::uint32_t>(hash);
  head.known_ |= static_cast<std::uint16_t>(known);
  head.held_ = static_cast<std::uint16_t>(held);
  head.id_size_ = static_cast<std::uint16_t>(id.size());
  head.group_ = static_cast<std::uint8_t>(group);
  head.wide_ = wide;
  if (old) {
    bytes_ -= old->bytes();
    states_ -= static_cast<std::size_t>(std::popcount(old->held_));
  }
  // It stays where it is while there is room; then what it holds is put together elsewhere first.
  bool stays = old && size <= malloc_usable_size(old);
  auto* fresh = old;
  if (!stays) {
    // Nearly all grow: a little room is left.
    fresh = static_cast<entity_block*>(
        std::malloc((size + piece_overhead + room - 1) / room * room - piece_overhead));
    if (!fresh)
      throw std::bad_alloc{};
  } else if (aside_.size() < size) {
    aside_.resize(size);
  }
  auto* begin = stays ? aside_.data() : reinterpret_cast<char*>(fresh);
  auto* bytes = begin + sizeof(entity_block);
  auto write = [&bytes](const void* part, std::size_t length) {
    if (length > 0)
      std::memcpy(bytes, part, length);
    bytes += length;
  };
  for (auto left = held; left != 0; left &= left - 1) {
    auto length = static_cast<std::uint32_t>(states[std::countr_zero(left)].size());
    auto narrow = static_cast<std::uint16_t>(length);
    wide ? write(&length, 4) : write(&narrow, 2);
  }
  write(id.data(), id.size());
  for (auto left = held; left != 0; left &= left - 1)
    write(states[std::countr_zero(left)].data(), states[std::countr_zero(left)].size());
  if (stays)
    std::memcpy(reinterpret_cast<char*>(fresh) + sizeof(entity_block), begin + sizeof(entity_block),
                size - sizeof(entity_block));
  new (fresh) entity_block{head};
  bytes_ += fresh->bytes();
  states_ += static_cast<std::size_t>(std::popcount(held));
  if (stays)
    return fresh;
  if (old) {
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
    if (block && !block->used && block->changed_ == 0) {
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
