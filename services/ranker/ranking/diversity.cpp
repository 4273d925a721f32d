#include "services/ranker/ranking/diversity.hpp"

#include <algorithm>

namespace troupe::ranker {

namespace {

constexpr std::size_t a_place = 5; // Items that compete for one.

} // namespace

double word_overlap(std::span<const word_id> a, std::span<const word_id> b) {
  if (a.empty() || b.empty())
    return 0;
  double common = 0;
  for (auto each : a)
    common += std::find(b.begin(), b.end(), each) != b.end() ? 1 : 0;
  return common / (static_cast<double>(a.size() + b.size()) - common);
}

std::size_t competitors(const ranking_state& state) {
  return state.release.rules.mmr > 0 ? std::min<std::size_t>(state.pool.all.size(), a_place * state.asked.n)
                                     : 0;
}

void diversify(ranking_state& state) {
  auto& pool = state.pool.all;
  auto& room = state.room;
  auto mmr = state.release.rules.mmr;
  auto head = competitors(state);
  if (head < 2)
    return;
  auto column = state.items.attribute_column(state.release.rules.diversity_attribute);
  auto words = [&](const candidate& of) {
    return column ? state.items.words(*column, of.item) : std::span<const word_id>{};
  };
  auto most = pool.front().score, least = pool[head - 1].score;
  auto span = most > least ? most - least : 1;
  room.closest.assign(head, 0);
  room.taken.assign(head, 0);
  room.order.clear();
  for (std::size_t turn = 0; turn < std::min<std::size_t>(head, state.asked.n); ++turn) {
    std::size_t best = head;
    double best_value = 0;
    for (std::size_t i = 0; i < head; ++i) {
      auto value = (1 - mmr) * (pool[i].score - least) / span - mmr * room.closest[i];
      if (room.taken[i] == 0 && (best == head || value > best_value)) {
        best = i;
        best_value = value;
      }
    }
    room.taken[best] = 1;
    if (state.asked.explain && best != turn)
      room.told[pool[best].told].notes.push_back(
          fmt::format("diversity moved it from {} to {}", best + 1, turn + 1));
    auto chosen = words(pool[best]);
    for (std::size_t i = 0; i < head; ++i)
      if (room.taken[i] == 0)
        room.closest[i] = std::max(room.closest[i], word_overlap(words(pool[i]), chosen));
    room.order.push_back(pool[best]);
  }
  for (std::size_t i = 0; i < head; ++i)
    if (room.taken[i] == 0)
      room.order.push_back(pool[i]);
  std::copy(room.order.begin(), room.order.end(), pool.begin());
}

} // namespace troupe::ranker
