#include "services/feature_store/operators/kept_values.hpp"
#include "services/feature_store/operators/sql.hpp"

namespace troupe::feature_store {

namespace {

/// The newest record of the user or item: its attributes as a JSON object, or empty text where it deletes the
/// entity.
class record_class final : public kept_values_operator {
public:
  std::string_view name() const noexcept override { return "record"; }
  bool of_entity() const noexcept override { return true; }
  bool reads_whole_record() const noexcept override { return true; }
  std::span<const std::string_view> keys() const noexcept override { return {}; }
  expected<void> parse(const toml::table&, const feature_view&, std::string_view,
                       feature_definition& into) const override {
    into.type = value_type::text;
    return {};
  }
  std::string sql(const feature_definition& def) const override { return sql_newest(def, "e.record"); }

private:
  bool take(const feature_definition&, const feature_event& from, slot& into,
            kept_value& kept) const override {
    keep_text(attributes_json(from), into, kept);
    return true;
  }
};

} // namespace

const feature_operator& record_operator() {
  static const record_class made;
  return made;
}

} // namespace troupe::feature_store
