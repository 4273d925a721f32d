#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/operator.hpp"
#include "services/feature_store/operators/sql.hpp"

#include <cmath>

namespace troupe::feature_store {

namespace {

double estimate(std::span<const distinct_tile> tiles) {
  if (tiles.size() == 1)
    return tiles.front().seen.estimate();
  if (std::ranges::all_of(tiles, [](auto& each) { return each.seen.exact(); })) {
    static thread_local std::vector<std::uint64_t> all;
    all.clear();
    for (auto& each : tiles)
      all.insert(all.end(), each.seen.hashes().begin(), each.seen.hashes().end());
    std::ranges::sort(all);
    return static_cast<double>(std::unique(all.begin(), all.end()) - all.begin());
  }
  auto merged = tiles.front().seen;
  for (auto& each : tiles.subspan(1))
    merged.merge(each.seen);
  return merged.estimate();
}

/// Distinct values: exact up to 1,024 per tile, then by HyperLogLog (1.6 %).
class distinct_count_class final : public feature_operator {
public:
  std::string_view name() const noexcept override { return "distinct_count"; }
  std::span<const std::string_view> keys() const noexcept override { return number_keys; }
  expected<void> parse(const toml::table& table, const feature_view&, std::string_view where,
                       feature_definition& into) const override {
    TROUPE_CHECK(parse_of(table, where, into));
    return parse_window(table, where, into);
  }
  void apply(const feature_definition& def, const feature_event& from, std::int64_t newest,
             slot& into) const override {
    static thread_local std::vector<std::uint64_t> hashes;
    hashes.clear();
    add_hashes(from, def.of, hashes);
    if (hashes.empty())
      return;
    into.touch(from.event_time);
    auto hop = def.hop.count();
    auto index = hop ? floor_div(from.event_time, hop) : 0;
    if (hop && newest != never && index < first_tile(def, newest))
      return;
    auto& seen = tile_at(into.seen, index).seen;
    for (auto hash : hashes)
      seen.add(hash);
  }
  bool fold(const feature_definition&, const slot& from, std::int64_t first, std::int64_t,
            double& number) const override {
    auto begin = tiles_from(from.seen, first);
    if (begin == from.seen.end())
      return false;
    number = std::round(estimate({begin, from.seen.end()}));
    return true;
  }
  void encode(const feature_definition&, const slot& from, form, store::encoder& out) const override {
    out.whole(from.seen.size());
    std::int64_t before = 0;
    for (auto& each : from.seen) {
      out.signed_whole(each.index - before);
      before = each.index;
      each.seen.save(out);
    }
  }
  bool decode(const feature_definition&, slot& into, store::decoder& in) const override {
    auto size = in.whole();
    if (size > in.left())
      return false;
    std::int64_t before = 0;
    for (std::uint64_t i = 0; i < size && in.ok(); ++i) {
      before += in.signed_whole();
      into.seen.push_back({before, sketch::distinct::load(in)});
    }
    return in.ok();
  }
  std::optional<std::int64_t> oldest_tile(std::string_view encoded) const override {
    store::decoder in{encoded};
    return in.whole() == 0 ? std::nullopt : std::optional{in.signed_whole()};
  }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("nullif(count(DISTINCT {}) {}, 0)::DOUBLE", sql_column(def.of), sql_filter(def));
  }
};

} // namespace

const feature_operator& distinct_count_operator() {
  static const distinct_count_class made;
  return made;
}

} // namespace troupe::feature_store
