#pragma once

#include "services/ingest/actors.hpp"
#include "services/ingest/lake.hpp"
#include "services/ingest/log/event_log.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/actor/health.hpp"

#include <chrono>
#include <memory>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::ingest {

struct lake_sealer_deps {
  std::shared_ptr<event_log> log;
  std::shared_ptr<lake> into;
  blocking_pool* slow = nullptr; ///< All work is done here.
  health::report report;
  std::chrono::seconds keep_log{0};        ///< So long a record stays in the log when it is in the lake.
  std::chrono::seconds keep_quarantine{0}; ///< So long a refused row stays.
};

lake_sealer_actor spawn_lake_sealer(caf::actor_system& system, lake_sealer_deps deps);

} // namespace troupe::ingest
