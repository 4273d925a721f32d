#include "services/ranker/release/warm_up.hpp"

#include "services/ranker/ranking/pipeline.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::ranker {

expected<void> warm_up(const loaded_release& release) {
  auto requests = release.warmup;
  if (requests.empty()) {
    auto& own = requests.emplace_back();
    if (!release.popular.empty())
      own.history.emplace_back(release.space->id(release.popular.front()));
  }
  // Nobody is to keep what the release makes of it: it is newer than the items that are in force.
  auto nothing = with_changes(std::make_shared<const item_snapshot>(release.space),
                              {.changed = {}, .removed = {}, .passing = true});
  for (std::size_t i = 0; i < requests.size(); ++i) {
    auto known = std::make_shared<user_features>();
    known->history = item_list{*release.space, requests[i].history};
    query asked;
    asked.user = requests[i].user;
    asked.known = std::move(known);
    asked.n = requests[i].n;
    asked.explain = true;
    auto answer = rank(release, *nothing, asked);
    if (answer.items.empty() && release.items > requests[i].history.size())
      return fail(ec::corrupt, "warm-up request {} has no answer", i + 1);
    for (auto& each : answer.items)
      if (!std::isfinite(each.score) || !std::all_of(each.models.begin(), each.models.end(),
                                                     [](auto& by) { return std::isfinite(by.second); }))
        return fail(ec::corrupt, "warm-up request {} scores item {} with a number that is not finite", i + 1,
                    each.item);
  }
  return {};
}

} // namespace troupe::ranker
