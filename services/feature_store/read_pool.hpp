#pragma once

#include "services/feature_store/metrics.hpp"
#include "services/feature_store/state_engine.hpp"

#include "common/net/request.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace troupe::feature_store {

/// The threads that answer reads. Requests wait in one queue, bounded by the endpoint's max_in_flight; one
/// whose deadline passes while it waits is answered `too_late`. A read that names offsets not yet applied is
/// parked until they are.
class read_pool {
public:
  using clock = std::function<std::int64_t()>;

  /// `now` gives the instant of reads that name none.
  read_pool(std::shared_ptr<state_engine> engine, std::shared_ptr<service_metrics> metrics, unsigned threads,
            clock now);
  ~read_pool();
  read_pool(const read_pool&) = delete;
  read_pool& operator=(const read_pool&) = delete;

  /// Takes a request of kind read_features.
  void take(net::request asked);

  /// Takes any other work of the pool.
  void run(std::function<void()> work);

  /// The instant of reads that name none.
  std::int64_t now() const { return now_(); }

  /// Records have been applied: looks at the parked reads again.
  void advanced();

  /// Answers parked reads with ec::stopping; what arrives later is served as long as it need not wait.
  void drain();

  /// Answers what waits with ec::stopping and joins the threads.
  void stop();

private:
  void work();
  void answer(net::request& asked);
  void expire(std::unique_lock<std::mutex>& lock);

  std::shared_ptr<state_engine> engine_;
  std::shared_ptr<service_metrics> metrics_;
  clock now_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<net::request> waiting_;
  std::deque<std::function<void()>> other_;
  std::vector<net::request> parked_;
  bool look_again_ = false;
  bool draining_ = false;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

} // namespace troupe::feature_store
