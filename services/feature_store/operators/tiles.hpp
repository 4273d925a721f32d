#pragma once

#include "services/feature_store/operators/operator.hpp"

#include <optional>

namespace troupe::feature_store {

/// Sums are kept in fixed point, so that their order does not matter.
store::int128 to_fixed(double number) noexcept;
double from_fixed(store::int128 sum) noexcept;
store::int128 add_wrapping(store::int128 a, store::int128 b) noexcept;

/// Of the tiles from `first` on: how many events, and their sum.
struct tile_total {
  std::uint64_t count = 0;
  store::int128 sum = 0;
};

/// An operator whose tiles are numbers: it says what a record adds to a tile, and what tiles add up to.
class tile_operator : public feature_operator {
public:
  void apply(const feature_definition& def, const feature_event& from, std::int64_t newest,
             slot& into) const final;
  bool fold(const feature_definition& def, const slot& from, std::int64_t first, std::int64_t at,
            double& number) const override;
  void encode(const feature_definition& def, const slot& from, form as, store::encoder& out) const final;
  bool decode(const feature_definition& def, slot& into, store::decoder& in) const final;
  std::optional<std::int64_t> oldest_tile(std::string_view encoded) const final;

protected:
  /// The number that a record brings, by default 1; none where the record does not count.
  virtual std::optional<double> amount(const feature_definition& def, const feature_event& from) const;
  /// Adds a record that counts, and its number.
  virtual void add(const feature_definition& def, const feature_event& from, double number,
                   tile& into) const = 0;
  /// The value of tiles, of which there is at least one. False: missing.
  virtual bool total(std::span<const tile> tiles, double& number) const = 0;
  /// A tile without its index: by default its count and a sum in fixed point.
  virtual void encode_tile(const tile& from, store::encoder& out) const;
  virtual void decode_tile(tile& into, store::decoder& in) const;

  static tile_total sum_of(std::span<const tile> tiles) noexcept;
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
protected:
  void add_number(double number, bool first, tile& into) const final;
  bool total(std::span<const tile> tiles, double& number) const final;
  void encode_tile(const tile& from, store::encoder& out) const final;
  void decode_tile(tile& into, store::decoder& in) const final;
  /// The one of two that stays.
  virtual double better(double a, double b) const noexcept = 0;
};

} // namespace troupe::feature_store
