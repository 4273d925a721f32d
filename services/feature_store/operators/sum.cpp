#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

namespace troupe::feature_store {

namespace {

/// In fixed point, 2^-40; summands are cut at +-2^60.
class sum_class final : public tiles_of<sum_class, sum_like_operator> {
public:
  std::string_view name() const noexcept override { return "sum"; }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("sum({}) {}", sql_column(def.of), sql_filter(def));
  }

  static bool value(const tile_total& all, double& number) {
    number = from_fixed(all.sum);
    return all.count > 0;
  }
};

} // namespace

const feature_operator& sum_operator() {
  static const sum_class made;
  return made;
}

} // namespace troupe::feature_store
