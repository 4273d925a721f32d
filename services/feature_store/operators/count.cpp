#include "services/feature_store/operators/keys.hpp"
#include "services/feature_store/operators/sql.hpp"
#include "services/feature_store/operators/tiles.hpp"

namespace troupe::feature_store {

namespace {

/// Events.
class count_class final : public tile_operator {
public:
  std::string_view name() const noexcept override { return "count"; }
  std::span<const std::string_view> keys() const noexcept override { return window_keys; }
  expected<void> parse(const toml::table& table, const feature_view&, std::string_view where,
                       feature_definition& into) const override {
    return parse_window(table, where, into);
  }
  std::string sql(const feature_definition& def) const override {
    return fmt::format("nullif(count(*) {}, 0)::DOUBLE", sql_filter(def));
  }

private:
  void add(const feature_definition&, const feature_event&, double, tile& into) const override {
    ++into.count;
  }
  bool total(std::span<const tile> tiles, double& number) const override {
    std::uint64_t count = 0;
    for (auto& each : tiles)
      count += each.count;
    number = static_cast<double>(count);
    return count > 0;
  }
  void encode_tile(const tile& from, store::encoder& out) const override { out.whole(from.count); }
  void decode_tile(tile& into, store::decoder& in) const override { into.count = in.whole(); }
};

} // namespace

const feature_operator& count_operator() {
  static const count_class made;
  return made;
}

} // namespace troupe::feature_store
