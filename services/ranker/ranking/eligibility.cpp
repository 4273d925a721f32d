#include "services/ranker/ranking/eligibility.hpp"

namespace troupe::ranker {

eligibility::eligibility(const ruleset& rules, const query& asked, bool leave_out_seen)
    : rules_{rules}, asked_{asked}, excluded_{asked.exclude.begin(), asked.exclude.end()} {
  if (leave_out_seen && rules.filter_seen) {
    seen_.insert(asked.history.begin(), asked.history.end());
    seen_.insert(asked.session.begin(), asked.session.end());
  }
}

std::string_view eligibility::reason_against(std::string_view item, const item_attributes* about) const {
  if (excluded_.contains(item))
    return "excluded";
  if (seen_.contains(item))
    return "seen";
  if (about)
    if (auto why = about->closed(asked_.now); !why.empty())
      return why;
  auto value = [&](const attribute_predicate& when) { return about ? about->find(when.attribute) : nullptr; };
  for (auto& each : asked_.filters)
    if (!each.holds(value(each)))
      return "filter";
  for (auto& each : rules_.rules)
    if (each.kind == rule_kind::filter && each.when.holds(value(each.when)))
      return "rule";
  return {};
}

} // namespace troupe::ranker
