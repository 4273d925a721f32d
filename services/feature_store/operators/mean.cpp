#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

namespace troupe::feature_store {

namespace {

class mean_class final : public tiles_of<mean_class, sum_like_operator> {
public:
  std::string_view name() const noexcept override { return "mean"; }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("avg({}) {}", sql_column(def.of), sql_filter(def));
  }

  static bool value(const tile_total& all, double& number) {
    number = all.count > 0 ? from_fixed(all.sum) / static_cast<double>(all.count) : 0;
    return all.count > 0;
  }
};

} // namespace

const feature_operator& mean_operator() {
  static const mean_class made;
  return made;
}

} // namespace troupe::feature_store
