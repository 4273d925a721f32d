#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace troupe::ranker {

/// A word or a text of attributes: its number in the words of a snapshot.
enum class word_id : std::uint32_t {};

/// One attribute, or one feature, of the items of a page.
struct item_column {
  static constexpr std::size_t rows = 256;

  enum class kind : std::uint8_t { none, number, flag, text, list };
  union value {
    double number = 0; ///< Of a flag 1 or 0.
    word_id text;
    struct {
      std::uint32_t from, count;
    } list; ///< In `words`.
  };

  std::array<kind, rows> kinds{};
  std::array<value, rows> values{};
  std::vector<word_id> words;

  std::span<const word_id> list(std::size_t row) const noexcept {
    return {words.data() + values[row].list.from, values[row].list.count};
  }
};

/// The items whose ordinals lie in one stretch of 256, as columns. Immutable once it is in a snapshot;
/// snapshots share the pages that did not change between them.
struct item_page {
  static constexpr std::size_t rows = item_column::rows;
  using bits = std::array<std::uint64_t, rows / 64>;

  static bool bit(const bits& of, std::size_t row) noexcept { return (of[row / 64] >> row % 64 & 1) != 0; }

  std::uint64_t number = 0; ///< No other page of this process has it; 0: of none.
  bits known{}, hidden{}, deleted{};
  std::array<std::int64_t, rows> expires{}, created{}; ///< Microseconds since 1970 UTC; 0: never, not known.
  std::array<double, rows> trend{};
  std::array<word_id, rows> titles{};
  std::vector<item_column> attributes, features; ///< Fewer than the snapshot names: the others have none.
};

using item_page_ptr = std::shared_ptr<const item_page>;

} // namespace troupe::ranker
