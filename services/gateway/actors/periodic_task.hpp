#pragma once

#include "services/gateway/actors.hpp"

#include <chrono>
#include <functional>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::gateway {

/// Does `task` where `post` has it done, the first time after `every`, then a pause of `every` after each
/// time.
periodic_task_actor spawn_periodic_task(caf::actor_system& system, post_function post,
                                        std::chrono::milliseconds every, std::function<void()> task);

} // namespace troupe::gateway
