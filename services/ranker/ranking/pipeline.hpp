#pragma once

#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/ranking/query.hpp"
#include "services/ranker/release/load.hpp"

#include <string>

namespace troupe::ranker {

/// Ranks: gathers candidates from the sources of the release, takes out what was seen, hidden, deleted,
/// expired, excluded or filtered, scores the rest with every model (each model's scores are brought to mean 0
/// and deviation 1 over the candidates it knows, then weighted and added; an item a model does not know
/// stands at its mean), applies boosts, diversity, caps, pins and exploration. A user of whom nothing is
/// known gets trending and popular items. An answer with fewer items than asked for says why. Reads only what
/// it is given: any thread, no waiting.
ranking rank(const loaded_release& release, const item_snapshot& items, const query& asked);

/// Items like `item`: nearest in the models' tables or vectors; for an item no model knows, the strongest
/// items that share most of its attribute `diversity_attribute`.
ranking similar(const loaded_release& release, const item_snapshot& items, const std::string& item,
                const query& asked);

} // namespace troupe::ranker
