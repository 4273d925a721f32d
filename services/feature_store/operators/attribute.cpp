#include "services/feature_store/operators/kept_values.hpp"
#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/sql.hpp"

namespace troupe::feature_store {

namespace {

/// An attribute of the newest record of the user or item: a record is the whole of it, so an attribute that
/// it does not name is one that the user or item has no more.
class attribute_class final : public kept_values_operator {
public:
  std::string_view name() const noexcept override { return "attribute"; }
  bool of_entity() const noexcept override { return true; }
  std::span<const std::string_view> keys() const noexcept override {
    static constexpr std::array<std::string_view, 2> all{"of", "type"};
    return all;
  }
  expected<void> parse(const toml::table& table, const feature_view&, std::string_view where,
                       feature_definition& into) const override {
    TROUPE_CHECK(parse_of(table, where, into));
    if (into.of.of != field::part::context)
      return fail(ec::invalid_argument, "{}: operator attribute needs of = \"attribute.NAME\"", where);
    return parse_type(table, where, into);
  }
  std::string sql(const feature_definition& def) const override {
    return sql_newest(def, sql_column(def.of), "true");
  }

private:
  bool counts_without_value() const noexcept override { return true; }
};

} // namespace

const feature_operator& attribute_operator() {
  static const attribute_class made;
  return made;
}

} // namespace troupe::feature_store
