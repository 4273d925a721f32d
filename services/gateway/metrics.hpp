#pragma once

#include "common/metrics/metrics.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

namespace troupe::gateway {

struct route;

/// What the gateway counts of requests and answers. Any thread.
class request_metrics {
public:
  explicit request_metrics(metrics::registry& in);

  /// One answer: of the route (nullptr: none fits), with this status, of this arm.
  void answered(const route* to, unsigned status, const std::string& arm, std::uint64_t us);

  metrics::counter fallback_answers; ///< With items of the fallback list.
  metrics::counter degraded_answers; ///< Of a ranker that lacked something.

private:
  static constexpr std::size_t statuses = 6; ///< By their hundreds.

  metrics::histogram latency_of(const route* to, unsigned hundreds, const std::string& arm);

  metrics::registry& registry_;
  /// What has no arm, by the number of the route (the last: none) and status: found without a lock.
  std::vector<std::array<std::atomic<metrics::histogram>, statuses>> by_route_;
  std::mutex mutex_;
  std::map<std::tuple<const route*, unsigned, std::string>, metrics::histogram> latencies_;
};

} // namespace troupe::gateway
