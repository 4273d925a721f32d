#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace troupe::ingest {

/// An id that is known, by hashes: of the id, never 0, and of the content that came with it (0: a refused
/// row).
struct dedup_entry {
  std::uint64_t id = 0;
  std::uint32_t content = 0;

  friend bool operator==(const dedup_entry&, const dedup_entry&) = default;
};

/// Ids in memory: open addressing, 16 bytes a slot, at most three quarters of them taken. One thread at a
/// time.
class dedup_table {
public:
  /// The content of an id that is there; nothing where it was not: it is from now on.
  std::optional<std::uint32_t> add(dedup_entry entry);

  std::optional<std::uint32_t> find(std::uint64_t id) const noexcept;
  void erase(std::uint64_t id) noexcept;

  /// Has the processor fetch what `find` and `add` will look at.
  void prefetch(std::uint64_t id) const noexcept {
    if (!slots_.empty())
      __builtin_prefetch(&slots_[id & (slots_.size() - 1)]);
  }

  std::size_t size() const noexcept { return size_; }

  /// By id.
  std::vector<dedup_entry> sorted() const;

private:
  std::size_t slot_of(std::uint64_t id) const noexcept;
  void grow();

  std::vector<dedup_entry> slots_; // A power of two; id 0: free.
  std::size_t size_ = 0;
};

} // namespace troupe::ingest
