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

/// Waits until all have ended: the last has answered what was open with it. False: the deadline came first.
/// Blocks.
bool wait_until_ended(caf::actor_system& system, const std::vector<requests_actor>& all, deadline until);

/// Answers a request: at once what is refused or needs nobody else, by an actor what waits. Any thread.
void serve(const deps_ptr& deps, http::request asked, http::responder respond);

} // namespace troupe::gateway
