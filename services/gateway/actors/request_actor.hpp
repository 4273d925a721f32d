#pragma once

#include "services/gateway/actors.hpp"
#include "services/gateway/gateway_deps.hpp"

#include "common/http/server.hpp"

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::gateway {

/// Answers a request: at once what is refused or needs nobody else, by a request_actor what waits. Any
/// thread.
void serve(caf::actor_system& system, const deps_ptr& deps, http::request asked, http::responder respond);

} // namespace troupe::gateway
