#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe simulate`: simulated users of the gateway.
void add_simulate_commands(command_line::command& app, context& context);

} // namespace troupe::cli
