#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/operator.hpp"
#include "services/feature_store/operators/sql.hpp"

namespace troupe::feature_store {

namespace {

/// Seconds since the newest event.
class time_since_class final : public feature_operator {
public:
  std::string_view name() const noexcept override { return "time_since"; }
  std::span<const std::string_view> keys() const noexcept override { return window_keys; }
  expected<void> parse(const toml::table& table, const feature_view&, std::string_view where,
                       feature_definition& into) const override {
    return parse_window(table, where, into);
  }
  void apply(const feature_definition&, const feature_event& from, std::int64_t, slot& into) const override {
    into.touch(from.event_time);
  }
  bool read(const feature_definition&, store::decoder&, std::int64_t newest, const reading& when,
            double& number, std::string&) const override {
    number = static_cast<double>(std::max<std::int64_t>(0, when.at - newest)) / 1e6;
    return true;
  }
  bool forgets(const feature_definition&) const noexcept override { return true; }
  void encode(const feature_definition&, const slot&, form, store::encoder&) const override {}
  bool decode(const feature_definition&, slot&, store::decoder& in) const override { return in.ok(); }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("(l.t - max(e.et) {})::DOUBLE / 1000000", sql_filter(def));
  }
};

} // namespace

const feature_operator& time_since_operator() {
  static const time_since_class made;
  return made;
}

} // namespace troupe::feature_store
