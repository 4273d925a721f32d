#pragma once

#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/metrics.hpp"
#include "services/ranker/release/load.hpp"
#include "services/ranker/serving/rank_codec.hpp"

#include "common/net/request.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace troupe::ranker {

/// One request with all that its answer is made of. Release and items are pinned when the request comes: what
/// is read for it, and what answers it, are of one release. One thread at a time.
struct rank_job {
  net::responder respond;
  deadline until{deadline::clock::time_point::max()};
  deadline::clock::time_point arrived = deadline::clock::now();
  rank_request request;
  release_ptr release;
  item_snapshot_ptr items;
  user_features_ptr user; ///< null where nothing was read, or nothing could be.
  std::chrono::microseconds features_took{};
  std::vector<std::string> degraded;

  /// Ranks, encodes and answers. `reserve`: the time before the deadline from which no further model scores.
  void answer(service_metrics& metrics, std::chrono::microseconds reserve);

  /// Answers with the error.
  void refuse(service_metrics& metrics, error why);
};

using rank_job_ptr = std::shared_ptr<rank_job>;

/// The deadline `span` earlier; one that never comes stays.
deadline earlier_by(deadline until, deadline::clock::duration span);

} // namespace troupe::ranker
