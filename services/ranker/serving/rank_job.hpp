#pragma once

#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/metrics.hpp"
#include "services/ranker/release/load.hpp"
#include "services/ranker/serving/adaptive_reserve.hpp"
#include "services/ranker/serving/rank_codec.hpp"
#include "services/ranker/serving/scoring_pool.hpp"

#include "common/net/request.hpp"

#include <chrono>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace troupe::ranker {

/// What the jobs of one dispatcher share.
struct scoring_terms {
  scoring_terms(std::shared_ptr<service_metrics> counts, std::chrono::microseconds whole_reserve)
      : metrics{std::move(counts)}, reserve{whole_reserve} {}

  std::shared_ptr<service_metrics> metrics;
  adaptive_reserve reserve; ///< The time before a deadline from which no further model scores.
};

/// One request with all that its answer is made of. Release and items are pinned when the request comes: what
/// is read for it, and what answers it, are of one release. One thread at a time.
class rank_job final : public scoring_work {
public:
  rank_job(std::shared_ptr<scoring_terms> terms, net::responder respond, deadline until)
      : respond{std::move(respond)}, until{until}, terms_{std::move(terms)} {}

  net::responder respond;
  deadline until;
  deadline::clock::time_point arrived = deadline::clock::now();
  rank_request request;
  release_ptr release;
  item_snapshot_ptr items;
  user_features_ptr user; ///< null where nothing was read, or nothing could be.
  std::chrono::microseconds features_took{};
  std::vector<degradation> degraded;

  /// Ranks, encodes and answers: others of the same release, too.
  void run(std::span<const scoring_work_ptr> others) override;

  /// Answers with the error.
  void refuse(error why) override;

  /// Its release: the items nearest to several users are searched in one pass.
  const void* kind() const noexcept override { return request.similar_to.empty() ? release.get() : nullptr; }

private:
  query& prepare();
  void answer(ranking made, deadline::clock::time_point began);

  std::shared_ptr<scoring_terms> terms_;
};

using rank_job_ptr = std::shared_ptr<rank_job>;

/// The deadline `span` earlier; one that never comes stays.
deadline earlier_by(deadline until, deadline::clock::duration span);

} // namespace troupe::ranker
