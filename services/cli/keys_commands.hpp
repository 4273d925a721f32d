#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe keys generate|fleet|show`: key pairs for CURVE.
void add_keys_commands(command_line::command& app, context& context);

} // namespace troupe::cli
