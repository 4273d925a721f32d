#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

namespace troupe::feature_store {

namespace {

class mean_class final : public sum_like_operator {
public:
  std::string_view name() const noexcept override { return "mean"; }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("avg({}) {}", sql_column(def.of), sql_filter(def));
  }

private:
  bool total(std::span<const tile> tiles, double& number) const override {
    auto all = sum_of(tiles);
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
