#include "services/feature_store/operators/tiles.hpp"

#include "services/feature_store/operators/keys.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::feature_store {

namespace {

constexpr double largest_summand = 1152921504606846976.0; // 2^60: room for 2^27 summands of that size

} // namespace

store::int128 to_fixed(double number) noexcept {
  number = std::clamp(number, -largest_summand, largest_summand);
  return static_cast<store::int128>(std::nearbyint(std::ldexp(number, fraction_bits)));
}

std::optional<double> tile_operator::amount(const feature_definition&, const feature_event&) const {
  return 1.0;
}

void tile_operator::apply(const feature_definition& def, const feature_event& from, std::int64_t newest,
                          slot& into) const {
  auto number = amount(def, from);
  if (!number)
    return;
  into.touch(from.event_time);
  auto hop = def.hop.count();
  auto index = tile_of(def, from.event_time);
  // A record too old for every later reading leaves no tile, but counts as having been there.
  if (hop && newest != never && index < first_tile(def, newest))
    return;
  if (into.older_tiles > 0 && index < into.tiles.front().index && !open_older(into)) {
    into.broken = true;
    return;
  }
  add(def, from, *number, tile_at(into.tiles, index));
  if (into.tiles.size() > 64 && into.tiles.size() % 64 == 1 && newest != never && hop && open_older(into))
    into.tiles.erase(into.tiles.begin(), tiles_from(into.tiles, first_tile(def, newest)));
}

std::optional<std::int64_t> tile_operator::oldest_tile(const feature_definition& def, std::int64_t newest,
                                                       std::string_view encoded) const {
  store::decoder in{encoded};
  if (in.whole() == 0)
    return std::nullopt;
  return tile_of(def, newest) - static_cast<std::int64_t>(in.whole());
}

std::span<const std::string_view> number_operator::keys() const noexcept {
  return number_keys;
}

expected<void> number_operator::parse(const toml::table& table, const feature_view&, std::string_view where,
                                      feature_definition& into) const {
  return parse_number(table, where, into);
}

std::optional<double> number_operator::amount(const feature_definition& def,
                                              const feature_event& from) const {
  return number_of(from, def.of);
}

void number_operator::add(const feature_definition&, const feature_event&, double number, tile& into) const {
  // -0.0 becomes 0.0: which of the two came first must not show.
  add_number(number + 0.0, into.count++ == 0, into);
}

void sum_like_operator::add_number(double number, bool, tile& into) const {
  into.sum = add_wrapping(into.sum, to_fixed(number));
}

} // namespace troupe::feature_store
