#include "services/ranker/serving/rank_job.hpp"

#include "services/ranker/ranking/pipeline.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace troupe::ranker {

namespace {

double seconds_since(deadline::clock::time_point then) {
  return std::chrono::duration<double>(deadline::clock::now() - then).count();
}

} // namespace

deadline earlier_by(deadline until, deadline::clock::duration span) {
  return until.at() == deadline::clock::time_point::max() ? until : deadline{until.at() - span};
}

query& rank_job::prepare() {
  auto& asked = request.asked;
  asked.now = micros_of(wall_now());
  asked.until = earlier_by(until, terms_->reserve.get());
  asked.known = user;
  if (user && user->deleted) // Models that were trained before know the id.
    asked.user = {};
  return asked;
}

void rank_job::run(std::span<const scoring_work_ptr> others) {
  auto began = deadline::clock::now();
  if (!request.similar_to.empty()) {
    auto& asked = prepare();
    return answer(similar(*release, *items, request.similar_to, asked), began);
  }
  std::array<rank_job*, most_together> all{this};
  std::array<rank_input, most_together> inputs;
  for (std::size_t i = 0; i < others.size(); ++i)
    all[i + 1] = static_cast<rank_job*>(others[i].get()); // Of the same kind: jobs.
  auto count = others.size() + 1;
  for (std::size_t i = 0; i < count; ++i)
    inputs[i] = {all[i]->items.get(), &all[i]->prepare(), all[i]->until};
  rank_together(*release, std::span{inputs}.first(count), [&](std::size_t i, std::optional<ranking> made) {
    if (!made)
      return all[i]->refuse({ec::too_late, "the deadline passed while others were ranked for"});
    made->stages.insert(made->stages.begin(), {"features", all[i]->features_took,
                                               all[i]->user ? all[i]->user->features.size() : 0});
    all[i]->answer(std::move(*made), std::exchange(began, deadline::clock::now()));
  });
}

void rank_job::answer(ranking made, deadline::clock::time_point began) {
  auto& metrics = *terms_->metrics;
  metrics.rank_seconds.observe(seconds_since(began));
  bool was_cut = std::ranges::any_of(made.degraded, [](auto& each) { return each.code == "deadline"; });
  made.degraded.insert(made.degraded.begin(), degraded.begin(), degraded.end());
  auto bytes = encode_ranking(made, release->manifest.id, request.asked.explain ? user.get() : nullptr,
                              release->space.get(), deadline::clock::now());
  metrics.answers.add();
  if (!made.degraded.empty())
    metrics.degraded.add();
  metrics.answer_seconds.observe(seconds_since(arrived));
  respond.reply(std::move(bytes));
  if (was_cut)
    terms_->reserve.cut(until, deadline::clock::now());
}

void rank_job::refuse(error why) {
  terms_->metrics->refused.add();
  terms_->metrics->answer_seconds.observe(seconds_since(arrived));
  respond.fail(std::move(why));
}

} // namespace troupe::ranker
