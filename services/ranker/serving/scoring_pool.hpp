#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/metrics/metrics.hpp"

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace troupe::ranker {

/// The threads that rank, apart from those of the actors, which carry timers and messages.
///
/// Operation: the job with the earliest deadline first, of equal ones the first that came. Each job runs
/// once: with null to do its work, or with the reason why not - ec::overloaded where as many wait as may,
/// ec::too_late where its deadline has passed, ec::stopping. Concurrency: any thread; a refusal at the door
/// runs on the thread of the caller. The threads are called `ranker-score`; `troupe_ranker_queued_jobs` tells
/// how many wait.
class scoring_pool {
public:
  using job = std::function<void(const error* refused)>;

  scoring_pool(std::size_t threads, std::size_t bound, metrics::registry& registry);
  ~scoring_pool();
  scoring_pool(const scoring_pool&) = delete;
  scoring_pool& operator=(const scoring_pool&) = delete;

  void post(deadline until, job next);

  /// Refuses what waits and what comes, and joins the threads.
  void stop();

private:
  void run();

  std::size_t bound_;
  metrics::gauge queued_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::multimap<deadline::clock::time_point, job> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

} // namespace troupe::ranker
