#pragma once

#include "services/gateway/actors.hpp"
#include "services/gateway/gateway_deps.hpp"

#include "common/http/server.hpp"

#include <cstddef>
#include <vector>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::gateway {

/// All end with the first one.
std::vector<requests_actor> spawn_requests(caf::actor_system& system, std::size_t count);

/// Answers a request: at once what is refused or needs nobody else, by an actor what waits. Any thread.
void serve(const deps_ptr& deps, http::request asked, http::responder respond);

} // namespace troupe::gateway
