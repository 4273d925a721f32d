#pragma once

#include "services/feature_store/operators/operator.hpp"

#include <cmath>
#include <optional>

namespace troupe::feature_store {

/// Sums are kept in fixed point, so that their order does not matter.
inline constexpr int fraction_bits = 40; // As from_fixed has it.
store::int128 to_fixed(double number) noexcept;
inline double from_fixed(store::int128 sum) noexcept {
  auto small = static_cast<std::int64_t>(sum);
  return (small == sum ? static_cast<double>(small) : static_cast<double>(sum)) * 0x1p-40;
}
inline store::int128 add_wrapping(store::int128 a, store::int128 b) noexcept {
  return static_cast<store::int128>(static_cast<store::uint128>(a) + static_cast<store::uint128>(b));
}

inline std::int64_t tile_of(const feature_definition& def, std::int64_t time) noexcept {
  auto hop = def.hop.count();
  return hop ? floor_div(time, hop) : 0;
}

/// What tiles add up to, from none on.
struct tile_total {
  std::uint64_t count = 0;
  store::int128 sum = 0;
  double extreme = 0;
};

/// An operator whose tiles are numbers: it says what a record adds to a tile. What tiles are in bytes and add
/// up to it says in `tiles_of`.
class tile_operator : public feature_operator {
public:
  void apply(const feature_definition& def, const feature_event& from, std::int64_t newest,
             slot& into) const final;
  std::optional<std::int64_t> oldest_tile(const feature_definition& def, std::int64_t newest,
                                          std::string_view encoded) const final;

  // A tile without its index: its count and a sum in fixed point. Most sums are of whole and half numbers,
  // and are written without their fraction, which the lowest bit of the count says.
  static void write_tile(const tile& from, store::encoder& out) {
    bool coarse = (from.sum & ((store::int128{1} << coarse_bits) - 1)) == 0;
    out.whole(from.count << 1 | coarse);
    out.wide(coarse ? from.sum >> coarse_bits : from.sum);
  }
  static void read_tile(tile& into, store::decoder& in) {
    auto head = in.whole();
    into.count = head >> 1;
    if (head & 1)
      into.sum = static_cast<store::int128>(static_cast<store::uint128>(in.wide()) << coarse_bits);
    else
      into.sum = in.wide();
  }
  static void take(const tile& each, tile_total& all) {
    all.count += each.count;
    all.sum = add_wrapping(all.sum, each.sum);
  }

protected:
  /// The number that a record brings, by default 1; none where the record does not count.
  virtual std::optional<double> amount(const feature_definition& def, const feature_event& from) const;
  /// Adds a record that counts, and its number.
  virtual void add(const feature_definition& def, const feature_event& from, double number,
                   tile& into) const = 0;

private:
  static constexpr int coarse_bits = fraction_bits - 1; // What halves need not.
};

/// Tiles in bytes, from the newest to the oldest, so that a reading ends with the last one that it sees.
/// `Self` has, beside what a tile_operator has, write_tile and read_tile, `take(tile, total)`, which adds a
/// tile up, and `value(total, number)`, false where it is missing; in line, because reading states is little
/// else.
template <class Self, class Base = tile_operator>
class tiles_of : public Base {
public:
  void encode(const feature_definition& def, const slot& from, form, store::encoder& out) const final {
    out.whole(from.tiles.size() + from.older_tiles);
    if (from.tiles.empty())
      return;
    auto later = tile_of(def, from.newest);
    auto oldest = from.older_tiles > 0 ? from.oldest : from.tiles.front().index;
    out.whole(static_cast<std::uint64_t>(later - oldest));
    for (auto at = from.tiles.rbegin(); at != from.tiles.rend(); ++at) {
      out.whole(static_cast<std::uint64_t>(later - at->index));
      later = at->index;
      Self::write_tile(*at, out);
    }
    out.raw(from.older);
  }

  bool decode(const feature_definition& def, slot& into, store::decoder& in) const final {
    auto size = in.whole();
    if (size > in.left())
      return false;
    if (size == 0)
      return in.ok();
    auto top = tile_of(def, into.newest);
    into.oldest = top - static_cast<std::int64_t>(in.whole());
    auto& newest = into.tiles.emplace_back();
    newest.index = top - static_cast<std::int64_t>(in.whole());
    Self::read_tile(newest, in);
    into.older = in.raw(in.left());
    into.older_tiles = size - 1;
    return in.ok() && (size > 1 || into.older.empty());
  }

  bool read(const feature_definition& def, store::decoder& in, std::int64_t newest, const reading& when,
            double& number, std::string&) const override {
    tile_total all;
    bool any = each_seen(def, in, newest, when, [&](const tile& each) { Self::take(each, all); });
    return any && Self::value(all, number);
  }

  bool open_older(slot& into) const final {
    if (into.older_tiles == 0)
      return true;
    store::decoder in{into.older};
    auto index = into.tiles.front().index;
    into.tiles.insert(into.tiles.begin(), into.older_tiles, tile{});
    for (auto i = into.older_tiles; i > 0; --i) {
      auto& each = into.tiles[i - 1];
      each.index = index -= static_cast<std::int64_t>(in.whole());
      Self::read_tile(each, in);
    }
    into.older = {};
    into.older_tiles = 0;
    return in.done() && in.ok();
  }

protected:
  /// Calls `use(tile)` for each that the reading sees, the newest first; false where there is none.
  template <class Use>
  static bool each_seen(const feature_definition& def, store::decoder& in, std::int64_t newest,
                        const reading& when, Use&& use) {
    auto size = in.whole();
    if (size == 0)
      return false;
    in.whole();
    tile each;
    each.index = tile_of(def, newest);
    bool any = false;
    for (; size > 0 && in.ok(); --size) {
      each.index -= static_cast<std::int64_t>(in.whole());
      if (each.index < when.first)
        break;
      Self::read_tile(each, in);
      use(each);
      any = true;
    }
    return any && in.ok();
  }
};

/// sum, mean, min, max: of a part of a record that is a number.
class number_operator : public tile_operator {
public:
  std::span<const std::string_view> keys() const noexcept final;
  expected<void> parse(const toml::table& table, const feature_view& view, std::string_view where,
                       feature_definition& into) const final;

protected:
  std::optional<double> amount(const feature_definition& def, const feature_event& from) const final;
  void add(const feature_definition& def, const feature_event& from, double number, tile& into) const final;
  /// Adds a number. `first` says that the tile is new.
  virtual void add_number(double number, bool first, tile& into) const = 0;
};

/// sum and mean.
class sum_like_operator : public number_operator {
protected:
  void add_number(double number, bool first, tile& into) const final;
};

/// min and max.
class extreme_operator : public number_operator {
public:
  static void write_tile(const tile& from, store::encoder& out) {
    auto twice = from.extreme * 2;
    bool coarse = std::abs(twice) < 1e6 && twice == std::trunc(twice);
    out.whole(from.count << 1 | coarse);
    if (coarse)
      out.signed_whole(static_cast<std::int64_t>(twice));
    else
      out.real(from.extreme);
  }
  static void read_tile(tile& into, store::decoder& in) {
    auto head = in.whole();
    into.count = head >> 1;
    into.extreme = head & 1 ? static_cast<double>(in.signed_whole()) / 2 : in.real();
  }
  static bool value(const tile_total& all, double& number) {
    number = all.extreme;
    return true;
  }
};

} // namespace troupe::feature_store
