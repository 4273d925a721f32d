#pragma once

#include "common/core/error.hpp"
#include "common/metrics/metrics.hpp"

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace troupe {

/// Has work that blocks done elsewhere: in a pool, or as a test wants it. ec::overloaded: the work is gone.
using post_function = std::function<expected<void>(std::function<void()>)>;

/// Threads for work that blocks or computes long, so that actors and sockets need not: reading files, writing
/// to the store, scoring. The work comes back as a message that its task sends.
///
/// The threads carry the name of the pool. Full, it refuses at once. `troupe_pool_queued_tasks` and
/// `troupe_pool_refused_total` tell about it, by pool. Destroyed, it runs what is queued first; not on one of
/// its own threads.
class blocking_pool {
public:
  struct options {
    std::string name;         ///< `ingest-reader`: what the threads and the metrics are called by.
    std::size_t threads = 1;  ///< At least one.
    std::size_t bound = 1024; ///< Tasks that may wait for a thread.
    int niceness = 0;         ///< 1 to 19: work that has time, behind all other threads of the machine.
  };

  blocking_pool(options options, metrics::registry& registry);
  ~blocking_pool();
  blocking_pool(const blocking_pool&) = delete;
  blocking_pool& operator=(const blocking_pool&) = delete;

  /// Any thread. Fails with ec::overloaded when as many wait as may; the task is gone then, so keep what has
  /// to be answered. A task must not throw.
  [[nodiscard]] expected<void> post(std::function<void()> task);

private:
  void run();

  options options_;
  metrics::gauge queued_;
  metrics::counter refused_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

} // namespace troupe
