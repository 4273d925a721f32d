#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

namespace troupe::feature_store {

namespace {

class min_class final : public extreme_operator {
public:
  std::string_view name() const noexcept override { return "min"; }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("min({}) {}", sql_column(def.of), sql_filter(def));
  }

private:
  double better(double a, double b) const noexcept override { return std::min(a, b); }
};

} // namespace

const feature_operator& min_operator() {
  static const min_class made;
  return made;
}

} // namespace troupe::feature_store
