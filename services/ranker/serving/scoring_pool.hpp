#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/metrics/metrics.hpp"

#include <condition_variable>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace troupe::ranker {

class scoring_work;
using scoring_work_ptr = std::shared_ptr<scoring_work>;

/// Something that a thread of the scoring pool does. Exactly one of `run` and `refuse` is called, once; or it
/// is among those that another one's `run` was given.
class scoring_work {
public:
  virtual ~scoring_work() = default;

  /// Does its own and that of `others`, which are of the same kind and come after it.
  virtual void run(std::span<const scoring_work_ptr> others) = 0;
  virtual void refuse(error why) = 0;

  /// Work of the same kind may be done together; null: alone.
  virtual const void* kind() const noexcept { return nullptr; }
};

/// The threads that rank, apart from those of the actors, which carry timers and messages.
///
/// Operation: the work with the earliest deadline first, of equal ones the first that came. A thread that
/// takes one up takes others of its kind that wait with it, at most `most_together` in all, not where another
/// thread is free for them, and not where its own deadline would be near: several times what as many took
/// lately. Work is refused with ec::overloaded where as many wait as may, ec::too_late where its deadline has
/// passed, ec::stopping. Concurrency: any thread; a refusal at the door runs on the thread of the caller. The
/// threads are called `ranker-score`; `troupe_ranker_queued_jobs` tells how many wait.
class scoring_pool {
public:
  scoring_pool(std::size_t threads, std::size_t bound, std::size_t most_together,
               metrics::registry& registry);
  ~scoring_pool();
  scoring_pool(const scoring_pool&) = delete;
  scoring_pool& operator=(const scoring_pool&) = delete;

  void post(deadline until, const scoring_work_ptr& next);

  /// Refuses what waits and what comes, and joins the threads.
  void stop();

private:
  void run();
  void take_with(const scoring_work& first, deadline until, std::vector<scoring_work_ptr>& into);

  std::size_t bound_, most_together_;
  metrics::gauge queued_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::multimap<deadline::clock::time_point, scoring_work_ptr> waiting_;
  std::size_t free_ = 0;             ///< Threads that wait for work.
  deadline::clock::duration took_{}; ///< What one piece of work takes lately; 0: none was done.
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

} // namespace troupe::ranker
