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

/// The items of the answer, each with its propensity: those of `from`, some of the ranked ones in exchange
/// for some of the tail.
std::vector<ranked_item> explore_placement(placement from, double share, const query& asked);

} // namespace troupe::ranker
