#include "services/feature_store/operators/kept_values.hpp"
#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/sql.hpp"

namespace troupe::feature_store {

namespace {

/// The newest event's part.
class last_class final : public kept_values_operator {
public:
  std::string_view name() const noexcept override { return "last"; }
  std::span<const std::string_view> keys() const noexcept override {
    static constexpr std::array<std::string_view, 4> all{"of", "window", "hop", "type"};
    return all;
  }
  expected<void> parse(const toml::table& table, const feature_view&, std::string_view where,
                       feature_definition& into) const override {
    TROUPE_CHECK(parse_of(table, where, into));
    TROUPE_CHECK(parse_window(table, where, into));
    return parse_type(table, where, into);
  }
  std::string sql(const feature_definition& def) const override {
    return sql_newest(def, sql_column(def.of));
  }
};

} // namespace

const feature_operator& last_operator() {
  static const last_class made;
  return made;
}

} // namespace troupe::feature_store
