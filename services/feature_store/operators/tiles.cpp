#include "services/feature_store/operators/tiles.hpp"

#include "services/feature_store/operators/keys.hpp"

#include <cmath>

namespace troupe::feature_store {

namespace {

constexpr int fraction_bits = 40;
constexpr int coarse_bits = fraction_bits - 1; // What halves need not.
constexpr double largest_summand = 1152921504606846976.0; // 2^60: room for 2^27 summands of that size

} // namespace

store::int128 to_fixed(double number) noexcept {
  number = std::clamp(number, -largest_summand, largest_summand);
  return static_cast<store::int128>(std::nearbyint(std::ldexp(number, fraction_bits)));
}

double from_fixed(store::int128 sum) noexcept {
  return std::ldexp(static_cast<double>(sum), -fraction_bits);
}

store::int128 add_wrapping(store::int128 a, store::int128 b) noexcept {
  return static_cast<store::int128>(static_cast<store::uint128>(a) + static_cast<store::uint128>(b));
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
  auto index = hop ? floor_div(from.event_time, hop) : 0;
  // A record too old for every later reading leaves no tile, but counts as having been there.
  if (hop && newest != never && index < first_tile(def, newest))
    return;
  add(def, from, *number, tile_at(into.tiles, index));
  if (into.tiles.size() > 64 && into.tiles.size() % 64 == 1 && newest != never && hop)
    into.tiles.erase(into.tiles.begin(), tiles_from(into.tiles, first_tile(def, newest)));
}

bool tile_operator::fold(const feature_definition&, const slot& from, std::int64_t first, std::int64_t,
                         double& number) const {
  // Few have tiles before the first: those of a window that has just moved.
  auto begin = from.tiles.begin();
  if (begin != from.tiles.end() && begin->index < first)
    begin = tiles_from(from.tiles, first);
  return begin != from.tiles.end() && total({begin, from.tiles.end()}, number);
}

tile_total tile_operator::sum_of(std::span<const tile> tiles) noexcept {
  tile_total out;
  for (auto& each : tiles) {
    out.count += each.count;
    out.sum = add_wrapping(out.sum, each.sum);
  }
  return out;
}

void tile_operator::encode(const feature_definition&, const slot& from, form, store::encoder& out) const {
  out.whole(from.tiles.size());
  std::int64_t before = 0;
  for (auto& each : from.tiles) {
    out.signed_whole(each.index - before);
    before = each.index;
    encode_tile(each, out);
  }
}

bool tile_operator::decode(const feature_definition&, slot& into, store::decoder& in) const {
  auto size = in.whole();
  if (size > in.left())
    return false;
  into.tiles.resize(size);
  std::int64_t before = 0;
  for (auto& each : into.tiles) {
    each.index = before += in.signed_whole();
    decode_tile(each, in);
  }
  return in.ok();
}

std::optional<std::int64_t> tile_operator::oldest_tile(std::string_view encoded) const {
  store::decoder in{encoded};
  return in.whole() == 0 ? std::nullopt : std::optional{in.signed_whole()};
}

void tile_operator::encode_tile(const tile& from, store::encoder& out) const {
  // Most sums are of whole and half numbers: without their fraction, which the lowest bit of the count says.
  bool coarse = (from.sum & ((store::int128{1} << coarse_bits) - 1)) == 0;
  out.whole(from.count << 1 | coarse);
  out.wide(coarse ? from.sum >> coarse_bits : from.sum);
}

void tile_operator::decode_tile(tile& into, store::decoder& in) const {
  auto head = in.whole();
  into.count = head >> 1;
  auto sum = in.wide();
  into.sum = head & 1 ? static_cast<store::int128>(static_cast<store::uint128>(sum) << coarse_bits) : sum;
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

void extreme_operator::add_number(double number, bool first, tile& into) const {
  into.extreme = first ? number : better(into.extreme, number);
}

void extreme_operator::encode_tile(const tile& from, store::encoder& out) const {
  auto twice = from.extreme * 2;
  bool coarse = std::abs(twice) < 1e6 && twice == std::trunc(twice);
  out.whole(from.count << 1 | coarse);
  if (coarse)
    out.signed_whole(static_cast<std::int64_t>(twice));
  else
    out.real(from.extreme);
}

void extreme_operator::decode_tile(tile& into, store::decoder& in) const {
  auto head = in.whole();
  into.count = head >> 1;
  into.extreme = head & 1 ? static_cast<double>(in.signed_whole()) / 2 : in.real();
}

bool extreme_operator::total(std::span<const tile> tiles, double& number) const {
  number = tiles.front().extreme;
  for (auto& each : tiles.subspan(1))
    number = better(number, each.extreme);
  return true;
}

} // namespace troupe::feature_store
