#include "services/ranker/ranking/pipeline.hpp"

#include "services/ranker/ranking/attribution.hpp"
#include "services/ranker/ranking/candidate_sources.hpp"
#include "services/ranker/ranking/diversity.hpp"
#include "services/ranker/ranking/exploration.hpp"
#include "services/ranker/ranking/placement.hpp"
#include "services/ranker/ranking/ranking_state.hpp"

#include <array>
#include <cassert>
#include <optional>

namespace troupe::ranker {

namespace {

constexpr std::size_t longest_history = 200; // What models are given: the newest.

/// What a thread ranks with.
ranking_scratch& room_of_thread(std::size_t which) {
  thread_local std::array<ranking_scratch, most_together> rooms;
  return rooms[which];
}

class stopwatch {
public:
  stopwatch(ranking& into, deadline::clock::time_point began) : into_{into}, since_{began} {
    into_.stages.reserve(6);
  }
  void end(std::string_view stage, std::size_t count) {
    auto now = deadline::clock::now();
    into_.stages.push_back(
        {stage, std::chrono::duration_cast<std::chrono::microseconds>(now - since_), count});
    since_ = now;
  }

private:
  ranking& into_;
  deadline::clock::time_point since_;
};

/// Says why the answer is short, where it is. What may be shown and is not there caps have kept out.
void explain_shortage(ranking_state& state) {
  auto& answer = state.answer;
  if (answer.items.size() >= state.asked.n)
    return;
  consider_nearest(state);
  answer.shortage = state.pool.shortage();
  auto capped = answer.shortage->considered;
  for (auto& [reason, items] : answer.shortage->left_out)
    capped -= items;
  for (auto& each : answer.items)
    capped -= state.pool.has(state.room.names.add(each.item)) ? 1 : 0;
  if (capped > 0)
    answer.shortage->left_out["cap"] = capped;
}

/// After the nearest items of the state's user were searched.
ranking answer(ranking_state& state, deadline::clock::time_point began) {
  auto& release = state.release;
  auto& pool = state.pool;
  stopwatch watch{state.answer, began};
  state.models.check_features(state.answer.degraded);
  gather_candidates(state);
  watch.end("candidates", pool.offered());
  watch.end("filter", pool.all.size()); // Done while gathering, so that sources give what may be shown.
  if (!state.models.score(pool, state.answer.degraded))
    score_by_popularity(pool.all, release, state.items);
  watch.end("score", pool.all.size());
  apply_boosts(state);
  auto needed = state.asked.n + (release.rules.exploration > 0 ? release.rules.explore_among : 0);
  pool.sort_first(std::max<std::size_t>(competitors(state), 2 * needed)); // Some of them caps may keep out.
  diversify(state);
  watch.end("rules", pool.all.size());
  explore_placement(place(state), state);
  attribute_to_history(state);
  watch.end("explore", state.answer.items.size());
  explain_shortage(state);
  return std::move(state.answer);
}

} // namespace

ranking_state::ranking_state(const loaded_release& by, const item_snapshot& of, const query& what,
                             ranking_scratch& with, bool leave_out_seen)
    : release{by}, items{of}, asked{what}, room{with}, binding{by.bindings.get(by, of, what.now)},
      eligible{of, *binding, with.marks, with.filters, what.now}, pool{with.candidates,
                                                                       with.refused,
                                                                       what.explain ? &with.told : nullptr,
                                                                       with.marks,
                                                                       with.names,
                                                                       eligible},
      models{by, of, *binding, what, (read_request(leave_out_seen), with)} {
  answer.texts = of.texts();
}

/// Before anything else: from here on every item that the request names has its ordinal and its marks.
void ranking_state::read_request(bool leave_out_seen) {
  // Two spaces would give two items one ordinal.
  assert(!items.space() || items.space() == release.space);
  auto& names = room.names;
  names.begin(*release.space);
  room.history.clear();
  room.named.clear();
  if (asked.known) {
    auto& of = asked.known->history;
    room.history = of.items();
    for (auto& [place, id] : of.unknown())
      room.history[place] = names.add(id);
  }
  for (auto& each : asked.session)
    room.history.push_back(names.add(each));
  auto excluded_from = room.history.size();
  for (auto& each : asked.exclude)
    room.history.push_back(names.add(each));
  for (auto& each : asked.candidates)
    names.add(each);
  room.marks.begin(names.limit() + 1);
  for (std::size_t i = excluded_from; i < room.history.size(); ++i) {
    room.marks[room.history[i]] |= item_marks::excluded;
    room.named.push_back(room.history[i]);
  }
  room.history.resize(excluded_from);
  if (leave_out_seen && release.rules.filter_seen)
    for (auto each : room.history) {
      room.marks[each] |= item_marks::seen;
      room.named.push_back(each);
    }
  if (room.history.size() > longest_history)
    room.history.erase(room.history.begin(), room.history.end() - longest_history);
  room.filters.clear();
  for (auto& each : asked.filters)
    room.filters.push_back(release.filters.get(release, each, items));
}

ranking rank(const loaded_release& release, const item_snapshot& items, const query& asked) {
  ranking out;
  rank_input one{&items, &asked};
  rank_together(release, {&one, 1},
                [&](std::size_t, std::optional<ranking> made) { out = std::move(*made); });
  return out;
}

void rank_together(const loaded_release& release, std::span<const rank_input> of,
                   const std::function<void(std::size_t, std::optional<ranking>)>& done) {
  auto began = deadline::clock::now();
  std::array<std::optional<ranking_state>, most_together> states;
  std::array<ranking_state*, most_together> all{};
  for (std::size_t i = 0; i < of.size(); ++i) {
    all[i] = &states[i].emplace(release, *of[i].items, *of[i].asked, room_of_thread(i), true);
    plan_nearest(*all[i]);
  }
  search_nearest(std::span{all}.first(of.size()));
  for (std::size_t i = 0; i < of.size(); ++i)
    done(i, of[i].until.passed() ? std::nullopt : std::optional{answer(*all[i], began)});
}

ranking similar(const loaded_release& release, const item_snapshot& items, std::string_view item,
                const query& asked) {
  auto& room = room_of_thread(0);
  auto with = asked;
  with.exclude.push_back(item);
  ranking_state state{release, items, with, room, false};
  auto& pool = state.pool;
  stopwatch watch{state.answer, deadline::clock::now()};
  gather_similar(state, room.names.add(item));
  watch.end("candidates", pool.offered());
  pool.sort_first(asked.n);
  if (pool.all.size() > asked.n)
    pool.all.resize(asked.n);
  state.answer.items.reserve(pool.all.size());
  for (auto& each : pool.all)
    state.answer.items.push_back(to_ranked_item(each, 1, state));
  attribute_to_history(state);
  watch.end("filter", state.answer.items.size());
  explain_shortage(state);
  return std::move(state.answer);
}

} // namespace troupe::ranker
