#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

#include "common/table/connection.hpp"

namespace troupe::feature_store {

namespace {

/// Events of type numerator per event of type denominator.
class rate_class final : public tiles_of<rate_class> {
public:
  std::string_view name() const noexcept override { return "rate"; }
  std::span<const std::string_view> keys() const noexcept override {
    static constexpr std::array<std::string_view, 4> all{"window", "hop", "numerator", "denominator"};
    return all;
  }
  expected<void> parse(const toml::table& table, const feature_view& view, std::string_view where,
                       feature_definition& into) const override {
    TROUPE_CHECK(parse_window(table, where, into));
    TROUPE_TRY(numerator, text_key(table, "numerator", where));
    TROUPE_TRY(denominator, text_key(table, "denominator", where));
    for (auto* each : {&numerator, &denominator})
      if (!*each || !view.has_source(**each))
        return fail(ec::invalid_argument,
                    "{}: operator rate needs numerator and denominator, event types of the view's source",
                    where);
    into.numerator = *numerator;
    into.denominator = *denominator;
    return {};
  }
  bool takes_type(const feature_definition& def, std::string_view type) const noexcept override {
    return type == def.numerator || type == def.denominator;
  }
  std::string sql(const feature_definition& def) const override {
    auto of_type = [&](const std::string& type) {
      return fmt::format("count(*) {}", sql_filter(def, "e.type = " + table::sql_text(type)));
    };
    return fmt::format("({})::DOUBLE / nullif({}, 0)", of_type(def.numerator), of_type(def.denominator));
  }

  static void write_tile(const tile& from, store::encoder& out) {
    out.whole(from.count).whole(static_cast<std::uint64_t>(from.sum));
  }
  static void read_tile(tile& into, store::decoder& in) {
    into.count = in.whole();
    into.sum = in.whole();
  }
  static bool value(const tile_total& all, double& number) {
    number = all.count > 0 ? static_cast<double>(all.sum) / static_cast<double>(all.count) : 0;
    return all.count > 0;
  }

private:
  std::optional<double> amount(const feature_definition& def, const feature_event& from) const override {
    if (from.type != def.numerator && from.type != def.denominator)
      return std::nullopt;
    return 1.0;
  }
  void add(const feature_definition& def, const feature_event& from, double, tile& into) const override {
    into.count += from.type == def.denominator;
    into.sum += from.type == def.numerator;
  }
};

} // namespace

const feature_operator& rate_operator() {
  static const rate_class made;
  return made;
}

} // namespace troupe::feature_store
