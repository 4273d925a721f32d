#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe rollouts ...`, `troupe routing`: how releases come into production.
void add_rollout_commands(command_line::command& app, context& with);

} // namespace troupe::cli
