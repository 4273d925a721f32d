#pragma once

#include "services/ingest/actors.hpp"
#include "services/ingest/worker_pool.hpp"

#include <memory>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::ingest {

/// Reads of the log for other processes. At most `max_in_flight` of the endpoint are parked. `log` tells the
/// desk when it grows.
fetch_desk_actor spawn_fetch_desk(caf::actor_system& system, std::shared_ptr<event_log> log,
                                  std::shared_ptr<worker_pool> servers);

} // namespace troupe::ingest
