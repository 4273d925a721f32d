#pragma once

#include "services/ranker/ranking/ranking_state.hpp"

namespace troupe::ranker {

/// Gives each item of the answer the items of the history that weighed most, as the first model says that can
/// tell. All items at once, because a model may have to solve for the user first. A long answer that is not
/// to be explained goes without. What is hidden, deleted or excluded is not named here either.
void attribute_to_history(ranking_state& state);

} // namespace troupe::ranker
