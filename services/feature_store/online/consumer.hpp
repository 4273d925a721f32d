#pragma once

#include "services/feature_store/actors.hpp"
#include "services/feature_store/config.hpp"
#include "services/feature_store/metrics.hpp"
#include "services/feature_store/online/state_engine.hpp"

#include "common/actor/health.hpp"

#include <caf/fwd.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace troupe::feature_store {

/// How far the consumer is; written by it, read by anybody.
class consumer_progress {
public:
  void set(std::uint32_t partition, std::uint64_t next_offset) {
    std::lock_guard lock{mutex_};
    if (next_.size() <= partition)
      next_.resize(partition + 1);
    next_[partition] = next_offset;
  }
  /// By partition, one past the last record the log is known to have.
  std::vector<std::uint64_t> next() const {
    std::lock_guard lock{mutex_};
    return next_;
  }

private:
  mutable std::mutex mutex_;
  std::vector<std::uint64_t> next_;
};

/// What a consumer works with.
struct consumer_deps {
  std::shared_ptr<state_engine> engine;
  /// Calls the ingest service; what the call ends with comes back to the actor with the tag.
  std::function<void(const consumer_actor&, std::uint64_t tag, wire::Kind, chunk payload, deadline)> call;
  /// Does work that waits for the disk, in the order given, on another thread.
  std::function<expected<void>(std::function<void()>)> run;
  std::shared_ptr<service_metrics> metrics;
  std::shared_ptr<consumer_progress> progress;
  std::shared_ptr<const config> settings;
  health::report report;
  std::function<void()> advanced; ///< Called after each batch applied: parked reads may go on.
};

/// A loop fetches from the offset that its views have applied, has the records applied, and fetches again;
/// the size of a fetch is the credit given to the log. Views that are as far as each other share a loop; a
/// new view has its own until it has caught up. After a failure a loop waits and asks again. On exit it has
/// written what has changed, and quits.
consumer_actor spawn_consumer(caf::actor_system& system, consumer_deps deps);

} // namespace troupe::feature_store
