#include "services/gateway/logic/list_overlap.hpp"

#include <algorithm>
#include <unordered_map>

namespace troupe::gateway {

list_overlap compare_lists(const std::vector<std::string>& shown, const std::vector<std::string>& other) {
  std::unordered_map<std::string, std::size_t> place;
  for (std::size_t i = 0; i < other.size(); ++i)
    place.emplace(other[i], i);
  std::vector<std::size_t> theirs; // Places in the other list, in our order.
  for (const auto& each : shown)
    if (auto found = place.find(each); found != place.end())
      theirs.push_back(found->second);
  auto n = static_cast<double>(std::max(shown.size(), other.size()));
  auto m = static_cast<double>(theirs.size());
  double overlap = n == 0 ? 1 : m / n;
  if (theirs.size() < 2)
    return {overlap, 0};
  auto sorted = theirs;
  std::ranges::sort(sorted);
  double squares = 0;
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    auto rank = static_cast<double>(std::ranges::lower_bound(sorted, theirs[i]) - sorted.begin());
    auto apart = rank - static_cast<double>(i);
    squares += apart * apart;
  }
  return {overlap, 1 - 6 * squares / (m * (m * m - 1))};
}

} // namespace troupe::gateway
