#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

#include <cmath>
#include <vector>

namespace troupe::feature_store {

namespace {

/// Contributions below 2^-64 are dropped.
constexpr std::int64_t decay_horizon = 64;

/// Sum of 2^(-age/half_life). A tile holds what its events count for at its end.
class decayed_count_class final : public tiles_of<decayed_count_class> {
public:
  std::string_view name() const noexcept override { return "decayed_count"; }
  std::span<const std::string_view> keys() const noexcept override {
    static constexpr std::array<std::string_view, 3> all{"window", "hop", "half_life"};
    return all;
  }
  expected<void> parse(const toml::table& table, const feature_view&, std::string_view where,
                       feature_definition& into) const override {
    TROUPE_TRY(half_life, span_key(table, "half_life", where));
    if (!half_life)
      return fail(ec::invalid_argument, "{}: operator decayed_count needs half_life", where);
    into.half_life = *half_life;
    if (table.contains("window")) {
      TROUPE_CHECK(parse_window(table, where, into));
    } else {
      TROUPE_TRY(hop, span_key(table, "hop", where));
      into.hop = hop.value_or(*half_life);
    }
    if (into.hop > *half_life * 8)
      return fail(ec::invalid_argument, "{}: hop {} is longer than 8 half lives", where,
                  to_duration_text(into.hop));
    return {};
  }
  std::int64_t first_tile(const feature_definition& def, std::int64_t at) const noexcept override {
    return def.window ? feature_operator::first_tile(def, at)
                      : floor_div(at - decay_horizon * def.half_life.count(), def.hop.count());
  }
  bool read(const feature_definition& def, store::decoder& in, std::int64_t newest, const reading& when,
            double& number, std::string&) const override {
    // Added up from the oldest to the newest: the order shows in the last bits of a sum.
    static thread_local std::vector<double> parts;
    parts.clear();
    each_seen(def, in, newest, when, [&](const tile& each) {
      parts.push_back(from_fixed(each.sum) *
                      std::exp2(static_cast<double>((each.index + 1) * def.hop.count() - when.at) /
                                static_cast<double>(def.half_life.count())));
    });
    number = 0;
    for (auto at = parts.rbegin(); at != parts.rend(); ++at)
      number += *at;
    return !parts.empty();
  }
  static bool value(const tile_total&, double&) { return false; } // What it is depends on the instant.
  std::string sql(const feature_definition& def) const override {
    // Without a window, what is older than 64 half lives is dropped, by whole tiles.
    auto reach = def.window ? std::string{"true"}
                            : fmt::format("e.et // {0} >= (l.t - {1}) // {0}", def.hop.count(),
                                          decay_horizon * def.half_life.count());
    return fmt::format("sum(pow(0.5, (l.t - e.et)::DOUBLE / {})) {}", def.half_life.count(),
                       sql_filter(def, reach));
  }

private:
  void add(const feature_definition& def, const feature_event& from, double, tile& into) const override {
    auto end = (into.index + 1) * def.hop.count();
    ++into.count;
    into.sum += to_fixed(
        std::exp2(-static_cast<double>(end - from.event_time) / static_cast<double>(def.half_life.count())));
  }
};

} // namespace

const feature_operator& decayed_count_operator() {
  static const decayed_count_class made;
  return made;
}

} // namespace troupe::feature_store
