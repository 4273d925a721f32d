#pragma once

#include "services/gateway/actors.hpp"
#include "services/gateway/gateway_deps.hpp"

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::gateway {

fallback_items_actor spawn_fallback_items(caf::actor_system& system, deps_ptr deps);

} // namespace troupe::gateway
