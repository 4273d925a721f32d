#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe schema infer|check` and `troupe profile [merge]`: what data is like, and what it must be like.
void add_validator_commands(command_line::command& app, context& context);

} // namespace troupe::cli
