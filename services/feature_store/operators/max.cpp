#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

namespace troupe::feature_store {

namespace {

class max_class final : public extreme_operator {
public:
  std::string_view name() const noexcept override { return "max"; }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("max({}) {}", sql_column(def.of), sql_filter(def));
  }

private:
  double better(double a, double b) const noexcept override { return std::max(a, b); }
};

} // namespace

const feature_operator& max_operator() {
  static const max_class made;
  return made;
}

} // namespace troupe::feature_store
