#include "services/ranker/ranking/pipeline.hpp"

#include "services/ranker/ranking/attribution.hpp"
#include "services/ranker/ranking/candidate_sources.hpp"
#include "services/ranker/ranking/diversity.hpp"
#include "services/ranker/ranking/exploration.hpp"
#include "services/ranker/ranking/placement.hpp"
#include "services/ranker/ranking/ranking_state.hpp"

namespace troupe::ranker {

namespace {

constexpr std::size_t longest_history = 200; // What models are given: the newest.

std::vector<std::string> whole_history(const query& asked) {
  auto all = asked.history;
  all.insert(all.end(), asked.session.begin(), asked.session.end());
  if (all.size() > longest_history)
    all.erase(all.begin(), all.end() - longest_history);
  return all;
}

class stopwatch {
public:
  explicit stopwatch(ranking& into) : into_{into} {}
  void end(const char* stage, std::size_t count) {
    auto now = deadline::clock::now();
    into_.stages.push_back(
        {stage, std::chrono::duration_cast<std::chrono::microseconds>(now - since_), count});
    since_ = now;
  }

private:
  ranking& into_;
  deadline::clock::time_point since_ = deadline::clock::now();
};

/// Says why the answer is short, where it is. What may be shown and is not there caps have kept out.
void explain_shortage(ranking_state& state) {
  auto& answer = state.answer;
  if (answer.items.size() >= state.asked.n)
    return;
  answer.shortage = state.pool.shortage();
  auto capped = answer.shortage->considered;
  for (auto& [reason, items] : answer.shortage->left_out)
    capped -= items;
  for (auto& each : answer.items)
    capped -= state.pool.has(each.item) ? 1 : 0;
  if (capped > 0)
    answer.shortage->left_out["cap"] = capped;
}

} // namespace

ranking_state::ranking_state(const loaded_release& by, const item_snapshot& of, const query& what,
                             bool leave_out_seen)
    : release{by}, items{of}, asked{what}, history{whole_history(what)}, models{by, of, what, history},
      eligible{by.rules, what, leave_out_seen}, pool{of, eligible} {}

ranking rank(const loaded_release& release, const item_snapshot& items, const query& asked) {
  ranking_state state{release, items, asked, true};
  auto& pool = state.pool;
  stopwatch watch{state.answer};
  state.models.check_features(state.answer.degraded);
  gather_candidates(state);
  watch.end("candidates", pool.offered());
  watch.end("filter", pool.all.size()); // Done while gathering, so that sources give what may be shown.
  if (!state.models.score(pool.all, state.answer.degraded))
    score_by_popularity(pool.all, release, items);
  watch.end("score", pool.all.size());
  apply_boosts(pool.all, release.rules, asked.explain);
  pool.sort();
  auto order = diversify(std::move(pool.all), release.rules, asked.n, asked.explain);
  watch.end("rules", order.size());
  state.answer.items = explore_placement(place(std::move(order), state), release.rules.exploration, asked);
  attribute_to_history(state);
  watch.end("explore", state.answer.items.size());
  explain_shortage(state);
  return std::move(state.answer);
}

ranking similar(const loaded_release& release, const item_snapshot& items, const std::string& item,
                const query& asked) {
  ranking_state state{release, items, asked, false};
  auto& pool = state.pool;
  stopwatch watch{state.answer};
  state.eligible.exclude(item);
  gather_similar(state, item);
  watch.end("candidates", pool.offered());
  pool.sort();
  if (pool.all.size() > asked.n)
    pool.all.resize(asked.n);
  for (auto& each : pool.all)
    state.answer.items.push_back(to_ranked_item(std::move(each), 1, asked.explain));
  attribute_to_history(state);
  watch.end("filter", state.answer.items.size());
  explain_shortage(state);
  return std::move(state.answer);
}

} // namespace troupe::ranker
