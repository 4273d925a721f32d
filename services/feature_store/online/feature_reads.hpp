#pragma once

#include "services/feature_store/metrics.hpp"
#include "services/feature_store/online/state_engine.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/net/actors.hpp"

#include <functional>
#include <memory>

namespace troupe::feature_store {

/// Answers read_features on the threads of a pool. Any thread.
///
/// Limits: what waits for a thread is bounded by the pool, beyond it reads are answered overloaded, without
/// it stopping; one whose deadline passes while it waits is answered too_late.
class feature_reads : public std::enable_shared_from_this<feature_reads> {
public:
  using clock = std::function<std::int64_t()>;

  /// `now` gives the instant of reads that name none.
  feature_reads(std::shared_ptr<state_engine> engine, std::shared_ptr<service_metrics> metrics,
                std::weak_ptr<blocking_pool> pool, clock now)
      : engine_{std::move(engine)}, metrics_{std::move(metrics)}, pool_{std::move(pool)}, now_{std::move(
                                                                                              now)} {}

  /// Where reads go whose offsets are not applied yet. To be said once, before the first read.
  void park_with(std::function<void(net::request_ptr)> park) { park_ = std::move(park); }

  void serve(net::request_ptr asked);

  /// Whether the offsets that a read names are applied; true for what is no read, which `serve` refuses.
  bool reached(const net::request& asked) const;

private:
  void answer(const net::request_ptr& asked);
  void refuse(net::request& asked, error why);

  std::shared_ptr<state_engine> engine_;
  std::shared_ptr<service_metrics> metrics_;
  std::weak_ptr<blocking_pool> pool_; // Its tasks hold us: who owns it joins its threads.
  clock now_;
  std::function<void(net::request_ptr)> park_;
};

} // namespace troupe::feature_store
