#include "services/ranker/ranking/candidate_sources.hpp"

#include "services/ranker/ranking/diversity.hpp"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace troupe::ranker {

namespace {

constexpr std::size_t retrieval_history = 50; // What item-to-item spreads from.
constexpr std::size_t widest_search = 3;      // Searches for nearest ones, each four times as wide.
constexpr std::size_t fewest_popular = 100;   // Of a user of whom nothing is known.

void gather_nearest(ranking_state& state, std::size_t n) {
  for (std::size_t m = 0; m < state.release.models.size(); ++m) {
    auto& model = state.release.models[m];
    if (!model.index)
      continue;
    auto& vector = state.models.user_vector(m);
    if (vector.empty())
      continue;
    // The seen ones come first in the search: ask for as many more. Where filters or hidden items leave too
    // few, ask wider: what is rare stands far behind.
    std::size_t got = 0;
    std::unordered_set<model::row> looked_at;
    auto width = n + state.models.user(m).history.size();
    for (std::size_t turn = 0; turn < widest_search && got < n; ++turn, width *= 4) {
      for (auto& [row, score] : model.index->search(vector, width))
        if (got < n && looked_at.insert(row).second)
          got += state.pool.offer(model.items->id(row), candidate_source::nearest) ? 1 : 0;
      if (width >= model.index->size())
        break;
    }
  }
}

void gather_item_to_item(ranking_state& state, std::size_t n) {
  for (std::size_t m = 0; m < state.release.models.size(); ++m) {
    auto& model = state.release.models[m];
    if (!model.retrieves)
      continue;
    auto& history = state.models.user(m).history;
    auto from = history.size() > retrieval_history ? history.end() - retrieval_history : history.begin();
    std::unordered_map<model::row, double> sums;
    for (; from != history.end(); ++from)
      for (auto& each : model.scorer->similar_items(*from, n))
        sums[each.item] += each.weight;
    std::vector<std::pair<double, model::row>> best;
    best.reserve(sums.size());
    for (auto& [row, sum] : sums)
      best.emplace_back(-sum, row);
    std::sort(best.begin(), best.end());
    std::size_t got = 0;
    for (auto& [sum, row] : best)
      if (got < n)
        got += state.pool.offer(model.items->id(row), candidate_source::item_to_item) ? 1 : 0;
  }
}

void gather_first(ranking_state& state, std::span<const item_ord> list, std::size_t n,
                  candidate_source source) {
  std::size_t got = 0;
  for (auto each : list)
    if (got < n)
      got += state.pool.offer(std::string{state.items.space()->id(each)}, source) ? 1 : 0;
}

void gather_popular(ranking_state& state, std::size_t n) {
  std::size_t got = 0;
  for (auto& each : state.release.popular)
    if (got < n)
      got += state.pool.offer(each, candidate_source::popular) ? 1 : 0;
}

void gather_from(ranking_state& state, const source_share& share) {
  switch (share.source) {
  case candidate_source::nearest:
    return gather_nearest(state, share.n);
  case candidate_source::item_to_item:
    return gather_item_to_item(state, share.n);
  case candidate_source::trending:
    return gather_first(state, state.items.trending(), share.n, share.source);
  case candidate_source::recent:
    return gather_first(state, state.items.recent(), share.n, share.source);
  case candidate_source::popular:
    return gather_popular(state, share.n);
  case candidate_source::request:
  case candidate_source::attributes:
  case candidate_source::pinned:
    return; // No rules name these.
  }
}

} // namespace

void gather_candidates(ranking_state& state) {
  if (!state.asked.candidates.empty()) {
    for (auto& each : state.asked.candidates)
      state.pool.offer(each, candidate_source::request);
    return;
  }
  auto& rules = state.release.rules;
  for (auto& share : rules.sources)
    gather_from(state, share);
  // Exploration needs somebody to explore.
  auto wanted = state.asked.n + (rules.exploration > 0 ? rules.explore_among : 0);
  if (state.pool.all.size() < wanted || (state.history.empty() && !state.models.knows_user()))
    gather_popular(state, std::max<std::size_t>(wanted, fewest_popular));
}

void gather_similar(ranking_state& state, const std::string& item) {
  // Of the first model that knows it: scores of different models cannot be compared.
  for (auto& model : state.release.models) {
    auto row = model.items->find(item);
    if (!row)
      continue;
    auto room = state.asked.n + state.asked.exclude.size() + 100;
    for (auto& each : model.scorer->similar_items(*row, room))
      state.pool.offer(model.items->id(each.item), candidate_source::item_to_item, each.weight);
    if (state.pool.all.empty() && model.index)
      for (auto& [near, score] : model.index->search(model.index->vector(*row), room))
        state.pool.offer(model.items->id(near), candidate_source::nearest, score);
    if (!state.pool.all.empty())
      return;
  }
  auto about = state.items.find(item);
  auto& attribute = state.release.rules.diversity_attribute;
  if (auto* own = words_of(about ? &*about : nullptr, attribute))
    for (auto ord : state.items.trending()) {
      auto each = state.items.find(state.items.space()->id(ord));
      if (auto shared = word_overlap(own, words_of(&*each, attribute)); shared > 0)
        state.pool.offer(each->id, candidate_source::attributes, shared);
    }
  if (state.pool.all.empty())
    state.answer.degraded.push_back(about ? "item: nothing is known that is like it" : "item: unknown");
}

} // namespace troupe::ranker
