#pragma once

#include "services/gateway/actors.hpp"
#include "services/gateway/gateway_deps.hpp"

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::gateway {

routing_client_actor spawn_routing_client(caf::actor_system& system, deps_ptr deps, health::report report);

} // namespace troupe::gateway
