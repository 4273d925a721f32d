#pragma once

#include "services/feature_store/online/feature_event.hpp"

#include "common/sketch/distinct.hpp"
#include "common/store/codec.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

inline constexpr std::int64_t never = std::numeric_limits<std::int64_t>::min();

inline std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept {
  auto q = a / b;
  return q - (a % b < 0);
}

/// What the events of one tile add up to.
struct tile {
  std::int64_t index = 0;
  std::uint64_t count = 0; ///< Events; of a rate, the denominator.
  union {
    store::int128 sum = 0; ///< Fixed point, 2^-40; of a rate, the numerator.
    double extreme;
  };
};

struct distinct_tile {
  std::int64_t index = 0;
  sketch::distinct seen;
};

/// A value that was kept. Of text and words it says where in `slot::words` they stand.
struct kept_value {
  enum class kind : std::uint8_t { none, number, text, list };

  order_key key;
  std::uint64_t since =
      0; ///< Of a record of the entity: one past the offset of the last that replaced all before.
  kind of = kind::none; ///< none: the record has no value.
  double number = 0;
  std::uint32_t begin = 0, size = 0;
};

/// What one feature of one entity remembers. Each operator uses its part of it.
struct slot {
  std::int64_t newest = never; ///< Of the records that count for this feature.
  std::vector<tile> tiles;     ///< In order of index.
  std::string_view older;      ///< Encoded tiles before those, still closed: most records are newer.
  std::uint64_t older_tiles = 0;
  std::int64_t oldest = 0;         ///< Of those the first index.
  bool broken = false;             ///< They could not be read.
  std::vector<distinct_tile> seen; ///< In order of index.
  std::vector<kept_value> values;  ///< In order.
  std::string words;               ///< What `values` point into: texts, and lists as `add_word` makes them.

  /// A record counts.
  void touch(std::int64_t event_time) noexcept { newest = std::max(newest, event_time); }

  /// As new, but for the memory that it holds.
  void clear() noexcept {
    newest = never;
    tiles.clear();
    older = {};
    older_tiles = 0;
    broken = false;
    seen.clear();
    values.clear();
    words.clear();
  }

  std::string_view text(const kept_value& of) const noexcept {
    return std::string_view{words}.substr(of.begin, of.size);
  }
};

/// Lists of words are kept and handed on as one text: each word behind its length.
inline void add_word_length(std::string& list, std::size_t size) {
  for (; size >= 0x80; size >>= 7)
    list += static_cast<char>(size | 0x80);
  list += static_cast<char>(size);
}

inline void add_word(std::string& list, std::string_view word) {
  add_word_length(list, word.size());
  list += word;
}

/// Calls `use(word)` for each word of such a list.
template <class Use>
void each_word(std::string_view list, Use&& use) {
  for (store::decoder in{list}; !in.done();)
    use(in.text());
}

/// The first of sorted tiles whose index is not before `index`.
template <class Tiles>
auto tiles_from(Tiles& tiles, std::int64_t index) {
  return std::lower_bound(tiles.begin(), tiles.end(), index,
                          [](auto& each, std::int64_t i) { return each.index < i; });
}

/// The tile of that index, made where there is none.
template <class Tile>
Tile& tile_at(std::vector<Tile>& tiles, std::int64_t index) {
  if (!tiles.empty() && tiles.back().index == index)
    return tiles.back();
  auto at = tiles_from(tiles, index);
  if (at == tiles.end() || at->index != index) {
    at = tiles.insert(at, Tile{});
    at->index = index;
  }
  return *at;
}

} // namespace troupe::feature_store
