#include "common/actor/component_list.hpp"

#include <algorithm>
#include <set>

namespace troupe {

expected<std::vector<component_list::item>> component_list::in_start_order() const {
  std::set<std::string> names;
  for (const auto& item : items_)
    if (!names.insert(item.name).second)
      return fail(ec::internal, "component {} is in the list twice", item.name);
  for (const auto& item : items_)
    for (const auto& need : item.needs)
      if (!names.contains(need))
        return fail(ec::internal, "component {} needs {}, which is not in the list", item.name, need);
  std::vector<item> left = items_;
  std::vector<item> sorted;
  std::set<std::string> placed;
  while (!left.empty()) {
    auto next = std::ranges::find_if(left, [&](const item& each) {
      return std::ranges::all_of(each.needs, [&](const std::string& need) { return placed.contains(need); });
    });
    if (next == left.end())
      return fail(ec::internal, "component {} and others need each other in a circle", left.front().name);
    placed.insert(next->name);
    sorted.push_back(std::move(*next));
    left.erase(next);
  }
  return sorted;
}

} // namespace troupe
