#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe training-set build|list|fetch|remove|verify`.
void add_training_set_commands(command_line::command& app, context& context);

} // namespace troupe::cli
