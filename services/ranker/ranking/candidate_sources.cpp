#include "services/ranker/ranking/candidate_sources.hpp"

#include "services/ranker/ranking/diversity.hpp"

#include <algorithm>

namespace troupe::ranker {

namespace {

constexpr std::size_t retrieval_history = 50; // What item-to-item spreads from.
constexpr std::size_t fewest_popular = 100;   // Of a user of whom nothing is known.
constexpr std::size_t widest_look = 16; // Times what was looked for: so far a short answer is explained.

/// The rows of a model that may be in this answer.
void allow_rows(const ranking_state& state, std::size_t m, std::vector<std::uint64_t>& into) {
  auto& rows = *state.release.models[m].rows;
  auto from = state.binding->allowed(m);
  into.assign(from.begin(), from.end());
  auto forbid = [&](item_ord item) {
    if (auto row = rows.find(item); row != no_row)
      into[row / 64] &= ~(std::uint64_t{1} << row % 64);
  };
  for (auto each : state.room.named)
    forbid(each);
  for (auto& each : state.items.expiring_between(state.binding->bound_at(), state.asked.now))
    forbid(each.item);
  for (auto& each : state.room.filters) {
    auto held = each->rows(m);
    for (std::size_t word = 0; word < into.size(); ++word)
      into[word] &= held[word];
  }
}

void gather_nearest(ranking_state& state, std::size_t n) {
  for (std::size_t m = 0; m < state.release.models.size(); ++m) {
    auto& search = state.room.nearest[m];
    std::size_t got = 0;
    for (auto& [row, score] : search.found)
      if (got < n && search.most > 0)
        got += state.pool.offer(state.release.models[m].rows->item(row), candidate_source::nearest) ? 1 : 0;
  }
}

/// Offers the n best of `best` that may be shown, in whatever order.
void offer_best(ranking_state& state, const item_rows& rows, std::size_t n) {
  auto& best = state.room.best;
  auto ahead = [](auto& a, auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; };
  auto cut = [&](auto begin, std::size_t most) {
    auto end =
        begin + static_cast<std::ptrdiff_t>(std::min(most, static_cast<std::size_t>(best.end() - begin)));
    if (end != best.end())
      std::nth_element(begin, end, best.end(), ahead);
    return end;
  };
  std::size_t got = 0, wide = n + n / 4 + 16;
  // Few may not be shown, so these are judged among the first alone, and further on where that was not so.
  for (auto from = best.begin(); from != best.end() && got < n; wide *= 4) {
    auto to = cut(from, wide);
    auto kept =
        std::partition(from, to, [&](auto& each) { return state.pool.may_be(rows.item(each.second)); });
    auto last = kept;
    if (static_cast<std::size_t>(kept - from) > n - got) {
      last = from + static_cast<std::ptrdiff_t>(n - got);
      std::nth_element(from, last, kept, ahead);
    }
    for (auto each = from; each != last; ++each)
      got += state.pool.offer(rows.item(each->second), candidate_source::item_to_item) ? 1 : 0;
    from = to;
  }
}

void gather_item_to_item(ranking_state& state, std::size_t n) {
  auto& room = state.room;
  thread_local std::vector<double> sums; // By row; 0 between two calls.
  for (std::size_t m = 0; m < state.release.models.size(); ++m) {
    auto& model = state.release.models[m];
    if (!model.retrieves)
      continue;
    auto& history = state.models.user(m).history;
    auto from = history.size() > retrieval_history ? history.end() - retrieval_history : history.begin();
    sums.resize(std::max(sums.size(), model.rows->size()), 0);
    room.touched.clear();
    for (; from != history.end(); ++from) {
      model.scorer->similar_items(*from, n, room.reasons);
      for (auto& each : room.reasons) {
        if (sums[each.item] == 0)
          room.touched.push_back(each.item);
        sums[each.item] += each.weight;
      }
    }
    room.best.clear();
    for (auto row : room.touched) {
      room.best.emplace_back(sums[row], row);
      sums[row] = 0;
    }
    offer_best(state, *model.rows, n);
  }
}

void gather_first(ranking_state& state, std::span<const item_ord> list, std::size_t n,
                  candidate_source source) {
  std::size_t got = 0;
  for (auto each : list) {
    if (got >= n)
      return;
    got += state.pool.offer(each, source) ? 1 : 0;
  }
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
    return gather_first(state, state.release.popular, share.n, share.source);
  case candidate_source::request:
  case candidate_source::attributes:
  case candidate_source::pinned:
    return; // No rules name these.
  }
}

} // namespace

void plan_nearest(ranking_state& state) {
  std::size_t most = 0;
  if (state.asked.candidates.empty())
    for (auto& share : state.release.rules.sources)
      if (share.source == candidate_source::nearest)
        most = std::max<std::size_t>(most, share.n);
  for (std::size_t m = 0; most > 0 && m < state.release.models.size(); ++m) {
    auto& search = state.room.nearest[m];
    if (!state.release.models[m].index || state.models.user_vector(m).empty())
      continue;
    allow_rows(state, m, search.allowed);
    search.vector = state.models.user_vector(m);
    search.most = most;
  }
}

void search_nearest(std::span<ranking_state* const> states) {
  auto& release = states.front()->release;
  thread_local std::vector<model::item_index::query> queries;
  for (std::size_t m = 0; m < release.models.size(); ++m) {
    queries.clear();
    for (auto* each : states)
      if (auto& search = each->room.nearest[m]; search.most > 0)
        queries.push_back({search.vector, search.most, search.allowed, &search.found});
    if (!queries.empty())
      release.models[m].index->search(queries);
  }
}

void gather_candidates(ranking_state& state) {
  if (!state.asked.candidates.empty()) {
    for (auto& each : state.asked.candidates)
      state.pool.offer(state.room.names.add(each), candidate_source::request);
    return;
  }
  auto& rules = state.release.rules;
  for (auto& share : rules.sources)
    gather_from(state, share);
  // Exploration needs somebody to explore.
  auto wanted = state.asked.n + (rules.exploration > 0 ? rules.explore_among : 0);
  if (state.pool.all.size() < wanted || (state.room.history.empty() && !state.models.knows_user()))
    gather_first(state, state.release.popular, std::max<std::size_t>(wanted, fewest_popular),
                 candidate_source::popular);
}

void gather_similar(ranking_state& state, item_ord item) {
  auto& room = state.room;
  // Of the first model that knows it: scores of different models cannot be compared.
  for (std::size_t m = 0; m < state.release.models.size(); ++m) {
    auto& model = state.release.models[m];
    auto row = model.rows->find(item);
    if (row == no_row)
      continue;
    auto wanted = state.asked.n + state.asked.exclude.size() + 100;
    model.scorer->similar_items(row, wanted, room.reasons);
    for (auto& each : room.reasons)
      state.pool.offer(model.rows->item(each.item), candidate_source::item_to_item, each.weight);
    if (state.pool.all.empty() && model.index) {
      auto& search = room.nearest[m];
      allow_rows(state, m, search.allowed);
      search.vector = model.index->vector(row);
      search.most = wanted;
      model::item_index::query query{search.vector, wanted, search.allowed, &search.found};
      model.index->search({&query, 1});
      for (auto& [near, score] : search.found)
        state.pool.offer(model.rows->item(near), candidate_source::nearest, score);
    }
    if (!state.pool.all.empty())
      return;
  }
  auto column = state.items.attribute_column(state.release.rules.diversity_attribute);
  auto own = column ? state.items.words(*column, item) : std::span<const word_id>{};
  if (!own.empty())
    for (auto each : state.items.trending())
      if (auto shared = word_overlap(own, state.items.words(*column, each)); shared > 0)
        state.pool.offer(each, candidate_source::attributes, shared);
  if (state.pool.all.empty())
    state.answer.degraded.push_back(
        {"item", 1, state.items.knows(item) ? "item: nothing is known that is like it" : "item: unknown"});
}

void consider_nearest(ranking_state& state) {
  for (std::size_t m = 0; m < state.release.models.size(); ++m) {
    auto& model = state.release.models[m];
    auto& search = state.room.nearest[m];
    if (search.most == 0)
      continue;
    auto width = widest_look * (search.most + state.models.user(m).history.size());
    model::item_index::query query{search.vector, width, {}, &search.found};
    model.index->search({&query, 1});
    std::size_t given = 0; // What stands behind the last one given was not looked at.
    for (auto& [row, score] : search.found)
      if (given < search.most)
        given += state.pool.may_be(model.rows->item(row)) ? 1 : 0;
  }
}

} // namespace troupe::ranker
