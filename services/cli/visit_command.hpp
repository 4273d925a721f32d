#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe visit`: simulated visitors of the gateway.
void add_visit_commands(command_line::command& app, context& context);

} // namespace troupe::cli
