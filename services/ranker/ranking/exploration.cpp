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

std::vector<ranked_item> explore_placement(placement from, double share, const query& asked) {
  auto policy = explore(from.ranked.size(), from.tail.size(), share, asked.seed);
  std::vector<double> propensities(from.slots.size(), 1);
  for (std::size_t k = 0; k < from.ranked.size(); ++k) {
    auto position = from.ranked[k];
    propensities[position] = policy.ranked_propensity;
    if (policy.slots[k] < 0)
      continue;
    auto& explored = from.tail[static_cast<std::size_t>(policy.slots[k])];
    explored.notes.emplace_back("explored");
    from.slots[position] = std::move(explored);
    propensities[position] = policy.explored_propensity;
  }
  std::vector<ranked_item> out;
  for (std::size_t p = 0; p < from.slots.size(); ++p)
    if (from.slots[p])
      out.push_back(to_ranked_item(std::move(*from.slots[p]), propensities[p], asked.explain));
  return out;
}

} // namespace troupe::ranker
