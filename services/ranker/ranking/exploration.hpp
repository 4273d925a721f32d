#pragma once

#include "services/ranker/ranking/placement.hpp"

#include <cstdint>
#include <vector>

namespace troupe::ranker {

/// The epsilon policy of one answer. `slots[p]` says which of `tail` stands at position p, or -1 for the item
/// that the ranking put there. Each position of `positions` is explored with probability `share`; which item
/// of the tail it then gets is a uniform draw without replacement over max(positions, tail) places, of which
/// those beyond the tail are empty. So an item of the tail stands at a position with probability share /
/// places, and the ranked item with 1 - share * tail / places, exactly.
struct exploration {
  std::vector<std::int64_t> slots;
  double explored_propensity = 0;
  double ranked_propensity = 1;
};
exploration explore(std::size_t positions, std::size_t tail, double share, std::uint64_t seed);

/// Gives the state's answer its items, each with its propensity: those of `from`, some of the ranked ones in
/// exchange for some of the tail, as often as the rules say.
void explore_placement(const placement& from, ranking_state& state);

/// A candidate as the answer gives it. What explains it stays away unless that is asked for.
ranked_item to_ranked_item(const candidate& from, double propensity, const ranking_state& state);

} // namespace troupe::ranker
