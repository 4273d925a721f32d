#pragma once

#include "services/ranker/ranking/ranking_state.hpp"

#include <deque>
#include <optional>
#include <vector>

namespace troupe::ranker {

/// Adds to the scores what the rules' boosts give.
void apply_boosts(std::vector<candidate>& pool, const ruleset& rules, bool explain);

/// Which item stands where, before exploration.
struct placement {
  std::vector<std::optional<candidate>> slots; ///< One a position.
  std::vector<std::size_t> ranked; ///< The positions that the ranking filled, in its order; pins the others.
  std::deque<item_attributes> pinned; ///< Rows of pinned items.
  std::vector<candidate> tail;        ///< Those behind the answer that exploration may show.
};

/// Gives the positions of the answer to pinned items, then to `order`, as far as caps let them in. What a cap
/// counts does not get into the tail: explored, it could be one too many.
placement place(std::vector<candidate> order, const ranking_state& state);

} // namespace troupe::ranker
