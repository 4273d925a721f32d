#pragma once

#include "services/feature_store/online/feature_event.hpp"

#include "common/sketch/distinct.hpp"
#include "common/store/codec.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <variant>
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

struct kept_value {
  order_key key;
  std::uint64_t since =
      0; ///< Of a record of the entity: one past the offset of the last that replaced all before.
  std::variant<std::monostate, double, std::string, text_list> value; ///< Nothing: the record has none.
};

/// What one feature of one entity remembers. Each operator uses its part of it.
struct slot {
  struct extra {
    std::vector<distinct_tile> tiles;
    std::vector<kept_value> values; ///< In order.
  };

  std::int64_t newest = never; ///< Of the records that count for this feature.
  std::vector<tile> tiles;     ///< In order of index.
  std::unique_ptr<extra> more;
  std::int64_t memo_first = never;
  double memo = 0;
  bool memo_present = false;

  /// A record counts: what was added up before does no more.
  void touch(std::int64_t event_time) noexcept {
    newest = std::max(newest, event_time);
    memo_first = never;
  }

  extra& must_have_more() {
    if (!more)
      more = std::make_unique<extra>();
    return *more;
  }

  /// What `fold(number)` said for this first tile, if nothing has been applied since.
  template <class Fold>
  bool memoized(std::int64_t first, double& number, Fold&& fold) {
    if (memo_first != first) {
      memo_present = fold(memo);
      memo_first = first;
    }
    number = memo;
    return memo_present;
  }
};

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
