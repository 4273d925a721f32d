#include "services/ranker/ranking/eligibility.hpp"

namespace troupe::ranker {

std::string_view eligibility::reason_against(item_ord item) const {
  auto mark = marks_.at(item);
  if ((mark & item_marks::excluded) != 0)
    return "excluded";
  if ((mark & item_marks::seen) != 0)
    return "seen";
  if (auto why = items_.closed(item, now_); !why.empty())
    return why;
  for (auto& each : filters_)
    if (!each->holds(item))
      return "filter";
  if (binding_.filtered(item))
    return "rule";
  return {};
}

} // namespace troupe::ranker
