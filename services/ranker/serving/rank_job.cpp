#include "services/ranker/serving/rank_job.hpp"

#include "services/ranker/ranking/pipeline.hpp"

namespace troupe::ranker {

namespace {

double seconds_since(deadline::clock::time_point then) {
  return std::chrono::duration<double>(deadline::clock::now() - then).count();
}

} // namespace

deadline earlier_by(deadline until, deadline::clock::duration span) {
  return until.at() == deadline::clock::time_point::max() ? until : deadline{until.at() - span};
}

void rank_job::answer(service_metrics& metrics, std::chrono::microseconds reserve) {
  auto& asked = request.asked;
  asked.now = micros_of(wall_now());
  asked.until = earlier_by(until, reserve);
  if (user) {
    asked.history = user->history;
    asked.features = user->values;
    asked.views = user->views;
    if (user->deleted) // Models that were trained before know the id.
      asked.user.clear();
  }
  auto since = deadline::clock::now();
  auto made = request.similar_to.empty() ? rank(*release, *items, asked)
                                         : similar(*release, *items, request.similar_to, asked);
  metrics.rank_seconds.observe(seconds_since(since));
  if (request.similar_to.empty())
    made.stages.insert(made.stages.begin(), {"features", features_took, user ? user->features.size() : 0});
  made.degraded.insert(made.degraded.begin(), degraded.begin(), degraded.end());
  auto bytes = encode_ranking(made, release->manifest.id, asked.explain ? user.get() : nullptr,
                              deadline::clock::now());
  metrics.answers.add();
  if (!made.degraded.empty())
    metrics.degraded.add();
  metrics.answer_seconds.observe(seconds_since(arrived));
  respond.reply(std::move(bytes));
}

void rank_job::refuse(service_metrics& metrics, error why) {
  metrics.refused.add();
  metrics.answer_seconds.observe(seconds_since(arrived));
  respond.fail(std::move(why));
}

} // namespace troupe::ranker
