#include "services/ranker/ranking/exploration.hpp"

#include "common/core/hash.hpp"

#include <algorithm>
#include <numeric>
#include <random>

namespace troupe::ranker {

exploration explore(std::size_t positions, std::size_t tail, double share, std::uint64_t seed) {
  exploration out;
  out.slots.assign(positions, -1);
  if (tail == 0 || share <= 0 || positions == 0)
    return out;
  auto places = std::max(positions, tail);
  out.explored_propensity = share / static_cast<double>(places);
  out.ranked_propensity = 1 - share * static_cast<double>(tail) / static_cast<double>(places);
  std::mt19937_64 random{hash64(byte_view{reinterpret_cast<const std::byte*>(&seed), sizeof seed})};
  std::vector<std::size_t> draw(places);
  std::iota(draw.begin(), draw.end(), std::size_t{0});
  for (std::size_t p = 0; p < positions; ++p) {
    std::swap(draw[p], draw[std::uniform_int_distribution<std::size_t>{p, places - 1}(random)]);
    bool explored = std::uniform_real_distribution<double>{}(random) < share;
    if (explored && draw[p] < tail)
      out.slots[p] = static_cast<std::int64_t>(draw[p]);
  }
  return out;
}

void explore_placement(const placement& from, ranking_state& state) {
  auto& items = state.answer.items;
  items.reserve(from.slots.size());
  auto policy =
      explore(from.ranked.size(), from.tail.size(), state.release.rules.exploration, state.asked.seed);
  std::size_t k = 0; // Positions of the ranking ascend.
  for (std::size_t p = 0; p < from.slots.size(); ++p) {
    if (k >= from.ranked.size() || from.ranked[k] != p) {
      if (from.slots[p].item != no_item)
        items.push_back(to_ranked_item(from.slots[p], 1, state));
      continue;
    }
    auto explored = policy.slots[k++];
    if (explored < 0) {
      items.push_back(to_ranked_item(from.slots[p], policy.ranked_propensity, state));
      continue;
    }
    items.push_back(
        to_ranked_item(from.tail[static_cast<std::size_t>(explored)], policy.explored_propensity, state));
    if (state.asked.explain)
      items.back().notes.emplace_back("explored");
  }
}

ranked_item to_ranked_item(const candidate& from, double propensity, const ranking_state& state) {
  ranked_item out;
  out.item = state.room.names.id(from.item);
  out.score = from.score;
  out.propensity = propensity;
  out.sources = from.sources;
  out.title = state.items.title(from.item);
  if (!state.asked.explain)
    return out;
  auto& told = state.room.told[from.told];
  for (auto& [model, score] : told.models)
    out.models.emplace_back(state.release.models[model].name, score);
  out.notes = told.notes;
  return out;
}

} // namespace troupe::ranker
