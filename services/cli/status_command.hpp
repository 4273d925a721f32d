#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe status`: each service and replica: ready or not, its state, what lags, its last error.
void add_status_commands(command_line::command& app, context& context);

} // namespace troupe::cli
