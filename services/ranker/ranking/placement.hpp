#pragma once

#include "services/ranker/ranking/ranking_state.hpp"

#include <cstddef>
#include <vector>

namespace troupe::ranker {

/// Adds to the scores what the rules' boosts give.
void apply_boosts(ranking_state& state);

/// Which item stands where, before exploration.
struct placement {
  std::vector<candidate> slots;    ///< One a position; no_item: nobody stands there.
  std::vector<std::size_t> ranked; ///< The positions that the ranking filled, in its order; pins the others.
  std::vector<candidate> tail;     ///< Those behind the answer that exploration may show.
};

/// Gives the positions of the answer to pinned items, then to the pool in its order, as far as caps let them
/// in. What a cap counts does not get into the tail: explored, it could be one too many.
placement place(ranking_state& state);

} // namespace troupe::ranker
