#pragma once

#include "common/metrics/metrics.hpp"

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

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
  metrics::registry& registry_;
  std::mutex mutex_;
  std::map<std::tuple<const route*, unsigned, std::string>, metrics::histogram> latencies_;
};

} // namespace troupe::gateway
