#pragma once

#include "services/ingest/actors.hpp"
#include "services/ingest/lake.hpp"
#include "services/ingest/log/event_log.hpp"

#include "common/actor/blocking_pool.hpp"

#include <memory>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::ingest {

/// Reads of the log, and of the lake for what is before it, for other processes. At most `max_in_flight` of
/// the endpoint are parked. `log` tells the server when it grows.
fetch_server_actor spawn_fetch_server(caf::actor_system& system, std::shared_ptr<event_log> log,
                                      std::shared_ptr<lake> archive, blocking_pool& servers,
                                      blocking_pool& lake_readers);

} // namespace troupe::ingest
