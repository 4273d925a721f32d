#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe train`, `troupe reproduce`.
void add_trainer_commands(command_line::command& app, context& context);

} // namespace troupe::cli
