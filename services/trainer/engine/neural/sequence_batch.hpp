#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace troupe::trainer::neural {

/// A window of what one user took, oldest first, and a number that is its own.
struct sequence {
  std::span<const std::uint32_t> items;
  std::uint64_t key = 0;
};

/// Sequences laid one behind the other, longest first, without padding: all work on single positions is done
/// on them as they lie. Attention works on groups of sequences of about the same length.
struct sequence_batch {
  struct group {
    std::int64_t first_row = 0;
    std::int64_t rows = 0;
    std::int64_t sequences = 0;
    std::int64_t longest = 0;
    std::vector<std::int64_t> padded; ///< Row of the group at each of sequences * longest places, or -1.
    std::vector<std::int64_t> packed; ///< The place of each row.
  };

  std::vector<std::int64_t> items;     ///< Of each row.
  std::vector<std::int64_t> positions; ///< Of each row; `length` - 1 for the newest item of a sequence.
  std::vector<std::uint64_t> keys;     ///< Of each row: of its sequence and position.
  std::vector<std::int64_t> last;      ///< Row of the newest item of each sequence, in the order given.
  std::vector<std::int64_t> first;     ///< Row of the oldest one.
  std::vector<group> groups;

  /// `sequences` have 1 to `length` items.
  static sequence_batch of(std::span<const sequence> sequences, std::uint32_t length);
};

} // namespace troupe::trainer::neural
