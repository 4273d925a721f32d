#pragma once

#include "services/gateway/actors.hpp"
#include "services/gateway/gateway_deps.hpp"

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::gateway {

arm_reporter_actor spawn_arm_reporter(caf::actor_system& system, deps_ptr deps);

} // namespace troupe::gateway
