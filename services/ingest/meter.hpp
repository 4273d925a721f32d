#pragma once

#include "services/ingest/event_log.hpp"
#include "services/ingest/lake.hpp"
#include "services/ingest/worker_pool.hpp"

#include "common/actor/health.hpp"
#include "common/metrics/metrics.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace troupe::ingest {

/// Once a second: turns the state of the log into metrics and gauges, and has full segments written to the
/// lake.
class meter {
public:
  meter(std::shared_ptr<event_log> log, std::shared_ptr<lake> into, std::shared_ptr<worker_pool> slow,
        metrics::registry& to, health::report report);
  ~meter();

private:
  void run();
  void look();
  void seal_if_due();

  std::shared_ptr<event_log> log_;
  std::shared_ptr<lake> lake_;
  std::shared_ptr<worker_pool> slow_;
  health::report report_;
  metrics::counter events_, users_, items_, duplicates_, quarantined_, late_;
  metrics::gauge queued_, unsealed_, age_;
  std::uint64_t last_records_ = 0;
  std::chrono::steady_clock::time_point last_look_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last_growth_ = std::chrono::steady_clock::now();
  std::shared_ptr<std::atomic<bool>> sealing_ = std::make_shared<std::atomic<bool>>(false);
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

} // namespace troupe::ingest
