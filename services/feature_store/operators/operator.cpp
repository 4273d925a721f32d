#include "services/feature_store/operators/operator.hpp"

#include <array>

/// All there are: a new operator is one file that defines NAME_operator(), and one line here.
#define TROUPE_EACH_OPERATOR(add)                                                                            \
  add(attribute) add(count) add(decayed_count) add(distinct_count) add(last) add(last_n) add(max) add(mean)  \
      add(min) add(rate) add(record) add(sum) add(time_since)

namespace troupe::feature_store {

#define TROUPE_DECLARE(name) const feature_operator& name##_operator();
TROUPE_EACH_OPERATOR(TROUPE_DECLARE)
#undef TROUPE_DECLARE

std::span<const feature_operator* const> all_operators() noexcept {
#define TROUPE_LIST(name) &name##_operator(),
  static const std::array table{TROUPE_EACH_OPERATOR(TROUPE_LIST)};
#undef TROUPE_LIST
  return table;
}

const feature_operator* find_operator(std::string_view name) noexcept {
  for (auto* each : all_operators())
    if (each->name() == name)
      return each;
  return nullptr;
}

bool feature_operator::takes(std::string_view key) const noexcept {
  return std::ranges::find(keys(), key) != keys().end();
}

std::int64_t feature_operator::first_tile(const feature_definition& def, std::int64_t at) const noexcept {
  return def.window ? floor_div(at - def.window->count(), def.hop.count()) : never + 1;
}

std::optional<std::int64_t> feature_operator::oldest_tile(const feature_definition&, std::int64_t,
                                                          std::string_view) const {
  return std::nullopt;
}

reading::reading(const feature_definition& def, std::int64_t when) noexcept
    : at{when}, first{def.op->first_tile(def, when)}, since{never} {
  auto hop = def.hop.count();
  if (hop > 0 && first > never / hop)
    since = first * hop;
}

} // namespace troupe::feature_store
