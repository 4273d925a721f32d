#pragma once

#include "services/gateway/actors.hpp"
#include "services/gateway/gateway_deps.hpp"

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::gateway {

/// `post` has the outbox read and written, which blocks. The outbox wakes the actor after each commit.
slate_sender_actor spawn_slate_sender(caf::actor_system& system, deps_ptr deps, post_function post);

} // namespace troupe::gateway
