#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace troupe::model {

/// One search while a scan goes on: its query in the form that a scan multiplies, and the rows that can still
/// be among the best. Kept by a thread and begun anew, so that it need not allocate.
class running_search {
public:
  /// `allowed`: bit r % 64 of word r / 64 for each row r; empty: all rows.
  void begin(std::span<const float> query, std::size_t most, std::span<const std::uint64_t> allowed);

  bool may_find(std::uint32_t row) const noexcept {
    return allowed_.empty() || (row / 64 < allowed_.size() && (allowed_[row / 64] >> (row % 64) & 1) != 0);
  }

  /// Whether it may find one of the sixteen rows from 16 * block on.
  bool may_find_in(std::size_t block) const noexcept {
    return allowed_.empty() ||
           (block / 4 < allowed_.size() && (allowed_[block / 4] >> (block % 4 * 16) & 0xffff) != 0);
  }

  std::span<const float> query() const noexcept { return query_; }
  float length() const noexcept { return length_; } ///< Of the query.

  /// Has this row decided by its vector.
  void look_at(std::uint32_t row) { open_.push_back({row, -infinite, infinite}); }

  /// Rows whose product is at most this are none of the best.
  float threshold() const noexcept { return threshold_; }

  /// Gives up what cannot be among the best, which raises the threshold.
  void narrow();

  /// All rows that can be among the best, best first, by their products from the vectors themselves.
  void finish(std::span<const float> vectors, std::vector<std::pair<std::uint32_t, float>>& found);

private:
  friend class compact_rows;
  struct open_row {
    std::uint32_t row;
    float lower, upper; ///< Bounds of its product.
  };

  static constexpr float infinite = std::numeric_limits<float>::infinity();

  void add(std::uint32_t row, float lower, float upper);

  std::span<const float> query_;
  std::span<const std::uint64_t> allowed_;
  std::size_t most_ = 0, narrow_at_ = 0;
  float threshold_ = -infinite;
  std::vector<std::int32_t> pairs_; ///< Two numbers of sixteen bits each.
  float step_ = 0;                  ///< What 1 of them stands for.
  bool whole_ = false;              ///< Whether they stand for the query: it is finite and not too short.
  float length_ = 0, lost_ = 0;     ///< Of the query, and of what rounding it took away.
  std::vector<open_row> open_;
  std::vector<std::uint32_t> rows_; // What finish() multiplies...
  std::vector<float> products_;     // ...and what comes of it.
};

/// Vectors in a quarter of their memory, for scans at its speed: numbers of eight bits with a scale for each
/// row, sixteen rows beside one another, so that no sum goes across the lanes of a register. How far a
/// product can be off is known, and what that leaves open is decided by the vectors themselves: a scan finds
/// what looking at all vectors finds. Immutable once made; any thread.
class compact_rows {
public:
  static constexpr std::size_t block_rows = 16;
  static constexpr std::uint32_t no_row = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t most_together = 4; ///< Searches of one scan.

  compact_rows() = default;

  /// `order` names the row at each place, or no_row; empty: each row at its own.
  compact_rows(std::span<const float> vectors, std::size_t width, std::vector<std::uint32_t> order);

  std::size_t blocks() const noexcept { return blocks_; }

  /// Whether bounds of its products with this query are finite numbers.
  bool can_bound(const running_search& search) const noexcept;

  /// Shows the rows of the blocks first..last-1 to `of`, at most most_together.
  void scan(std::size_t first, std::size_t last, std::span<running_search* const> of) const;

private:
  std::size_t block_size() const noexcept { return pairs_ * 2 * block_rows + block_rows * sizeof(float); }

  std::size_t pairs_ = 0, blocks_ = 0, rows_ = 0;
  std::vector<std::byte> data_; ///< Block by block: by pairs of numbers those of sixteen rows; then scales.
  std::vector<std::uint32_t> order_; ///< The row at each place; empty: its own.
  float longest_ = 0;                ///< Of the rows of whole numbers...
  float lost_ = 0;                   ///< ...and of what rounding took away from one, in its scale.
  float largest_scale_ = 0;
  bool bounded_ = true; ///< No row is so short that its scale is no number to reckon with.
};

} // namespace troupe::model
