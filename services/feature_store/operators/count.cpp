#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

namespace troupe::feature_store {

namespace {

/// Events.
class count_class final : public tiles_of<count_class> {
public:
  std::string_view name() const noexcept override { return "count"; }
  std::span<const std::string_view> keys() const noexcept override { return window_keys; }
  expected<void> parse(const toml::table& table, const feature_view&, std::string_view where,
                       feature_definition& into) const override {
    return parse_window(table, where, into);
  }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("nullif(count(*) {}, 0)::DOUBLE", sql_filter(def));
  }

  static void write_tile(const tile& from, store::encoder& out) { out.whole(from.count); }
  static void read_tile(tile& into, store::decoder& in) { into.count = in.whole(); }
  static void take(const tile& each, tile_total& all) { all.count += each.count; }
  static bool value(const tile_total& all, double& number) {
    number = static_cast<double>(all.count);
    return all.count > 0;
  }

private:
  void add(const feature_definition&, const feature_event&, double, tile& into) const override {
    ++into.count;
  }
};

} // namespace

const feature_operator& count_operator() {
  static const count_class made;
  return made;
}

} // namespace troupe::feature_store
