#pragma once

#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/ranking/query.hpp"
#include "services/ranker/release/load.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

namespace troupe::ranker {

/// Ranks: gathers candidates from the sources of the release, takes out what was seen, hidden, deleted,
/// expired, excluded or filtered, scores the rest with every model (each model's scores are brought to mean 0
/// and deviation 1 over the candidates it knows, then weighted and added; an item a model does not know
/// stands at its mean), applies boosts, diversity, caps, pins and exploration. A user of whom nothing is
/// known gets trending and popular items. An answer with fewer items than asked for says why. Reads only what
/// it is given: any thread, no waiting. The ids of the answer lie in the space of the items and in the query.
ranking rank(const loaded_release& release, const item_snapshot& items, const query& asked);

/// One of several that are ranked together.
struct rank_input {
  const item_snapshot* items = nullptr;
  const query* asked = nullptr;
  /// Then nobody waits for the answer any more.
  deadline until{deadline::clock::time_point::max()};
};
inline constexpr std::size_t most_together = 4;

/// Ranks for at most so many who wait at the same time: each gets what `rank` gives, but the nearest items of
/// all are searched in one pass. `done` is called with the place of each as soon as its answer is there, in
/// their order; with nothing where nobody waits for it when it is its turn.
void rank_together(const loaded_release& release, std::span<const rank_input> of,
                   const std::function<void(std::size_t, std::optional<ranking>)>& done);

/// Items like `item`: nearest in the models' tables or vectors; for an item no model knows, the strongest
/// items that share most of its attribute `diversity_attribute`.
ranking similar(const loaded_release& release, const item_snapshot& items, std::string_view item,
                const query& asked);

} // namespace troupe::ranker
