#include "services/feature_store/operators/kept_values.hpp"
#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/sql.hpp"

namespace troupe::feature_store {

namespace {

/// Parts of the newest n events, oldest first, as text.
class last_n_class final : public kept_values_operator {
public:
  std::string_view name() const noexcept override { return "last_n"; }
  std::span<const std::string_view> keys() const noexcept override {
    static constexpr std::array<std::string_view, 4> all{"of", "window", "hop", "n"};
    return all;
  }
  expected<void> parse(const toml::table& table, const feature_view&, std::string_view where,
                       feature_definition& into) const override {
    TROUPE_CHECK(parse_of(table, where, into));
    TROUPE_CHECK(parse_window(table, where, into));
    auto n = table["n"].value_exact<std::int64_t>();
    if (!n || *n < 1 || *n > 10'000)
      return fail(ec::invalid_argument, "{}: operator last_n needs n, 1 to 10,000", where);
    into.n = static_cast<std::uint32_t>(*n);
    into.type = value_type::list;
    return {};
  }
  std::string sql(const feature_definition& def) const override {
    auto column = sql_column(def.of);
    return fmt::format("list_slice(list({} {}) {}, -{}, -1)", column, sql_order,
                       sql_filter(def, column + " IS NOT NULL"), def.n);
  }

private:
  std::size_t limit(const feature_definition& def) const override { return def.n; }
  bool gives_all() const noexcept override { return true; }
  value_type type_of_one(const feature_definition&) const override { return value_type::text; }
};

} // namespace

const feature_operator& last_n_operator() {
  static const last_n_class made;
  return made;
}

} // namespace troupe::feature_store
