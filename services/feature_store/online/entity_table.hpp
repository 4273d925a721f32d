#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

/// A state that takes the place of another; no bytes: there is none.
struct state_change {
  std::uint32_t view = 0; ///< In its group.
  std::string_view state;
};

/// What is in memory of one entity: its states under the views of one group, as bytes, in one piece with its
/// id. Made and freed by `entity_table`.
class entity_block {
public:
  std::string_view id() const noexcept;
  std::uint32_t group() const noexcept { return group_; }

  /// By view of the group, a bit: what there is of it is here, be it nothing.
  std::uint32_t known() const noexcept { return known_; }
  /// By view, a bit: there is a state.
  std::uint32_t held() const noexcept { return held_; }
  /// The state under a view; empty where there is none.
  std::string_view state(std::uint32_t view) const noexcept;

  /// By view, a bit: it has changed since it was written to disk.
  std::uint32_t changed() const noexcept { return changed_; }
  void set_changed(std::uint32_t views) noexcept { changed_ = static_cast<std::uint16_t>(views); }
  /// Where it stands in its owner's list of what has changed.
  std::uint32_t changed_at = 0;
  /// Looked at since the last search for one that may go.
  bool used = true;

  /// What it takes of the heap.
  std::size_t bytes() const noexcept;

private:
  friend class entity_table;
  entity_block() = default;

  std::size_t size_of(std::size_t state) const noexcept;
  std::size_t sizes_bytes() const noexcept;

  std::uint32_t hash_ = 0;
  std::uint16_t known_ = 0;
  std::uint16_t held_ = 0;
  std::uint16_t changed_ = 0;
  std::uint16_t id_size_ = 0;
  std::uint8_t group_ = 0;
  bool wide_ = false; ///< Sizes are of four bytes, not of two.
  // Behind it: the size of each state that is held, the id, the states.
};

/// Entities by group and id: open addressing over pointers, whose upper bits repeat a part of the hash. Not
/// thread-safe. Limits: 16 views a group, 256 groups, ids of 65,535 bytes.
class entity_table {
public:
  static constexpr std::uint32_t views_per_group = 16;

  entity_table() = default;
  ~entity_table();
  entity_table(const entity_table&) = delete;
  entity_table& operator=(const entity_table&) = delete;

  /// nullptr where it is not here. `hash` must be 64 well-mixed bits of group and id.
  entity_block* find(std::uint64_t hash, std::uint32_t group, std::string_view id) const noexcept;

  /// Fetches what `find` will look at, in two steps with other work between them.
  void prefetch_slot(std::uint64_t hash) const noexcept;
  void prefetch_block(std::uint64_t hash) const noexcept;

  /// Puts states into an entity, which is made where `old` is nullptr; then also these views are known. What
  /// has changed stays said. `old` is gone after that. `changes` are in order of their views.
  entity_block* put(entity_block* old, std::uint64_t hash, std::uint32_t group, std::string_view id,
                    std::uint32_t known, std::span<const state_change> changes);

  /// Lets go of one that has not been used of late, and not changed; false where it found none among the next
  /// few.
  bool evict();

  std::size_t entities() const noexcept { return count_; }
  std::size_t states() const noexcept { return states_; }
  /// What all of it takes of the heap.
  std::size_t bytes() const noexcept { return bytes_; }

private:
  std::size_t home(std::uint32_t hash) const noexcept {
    return static_cast<std::size_t>(std::uint64_t{hash} * slots_.size() >> 32);
  }
  std::size_t slot_of(const entity_block* block) const noexcept;
  void grow();
  void place(std::uintptr_t slot, std::uint32_t hash);
  void remove(std::size_t at);

  std::vector<std::uintptr_t> slots_;
  std::vector<char> aside_; ///< Where an entity that stays in its place is put together.
  std::size_t count_ = 0;
  std::size_t states_ = 0;
  std::size_t bytes_ = 0;
  std::size_t hand_ = 0;
};

} // namespace troupe::feature_store
