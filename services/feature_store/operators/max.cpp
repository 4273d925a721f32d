#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

namespace troupe::feature_store {

namespace {

class max_class final : public tiles_of<max_class, extreme_operator> {
public:
  std::string_view name() const noexcept override { return "max"; }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("max({}) {}", sql_column(def.of), sql_filter(def));
  }

  static void take(const tile& each, tile_total& all) {
    all.extreme = all.count == 0 ? each.extreme : std::max(all.extreme, each.extreme);
    all.count += each.count;
  }

private:
  void add_number(double number, bool first, tile& into) const override {
    into.extreme = first ? number : std::max(into.extreme, number);
  }
};

} // namespace

const feature_operator& max_operator() {
  static const max_class made;
  return made;
}

} // namespace troupe::feature_store
