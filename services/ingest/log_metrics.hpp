#pragma once

#include "services/ingest/actors.hpp"
#include "services/ingest/log/event_log.hpp"

#include "common/actor/health.hpp"
#include "common/metrics/metrics.hpp"

#include <memory>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::ingest {

struct log_metrics_deps {
  std::shared_ptr<event_log> log;
  metrics::registry* registry = nullptr;
  health::report report;
};

log_metrics_actor spawn_log_metrics(caf::actor_system& system, log_metrics_deps deps);

} // namespace troupe::ingest
