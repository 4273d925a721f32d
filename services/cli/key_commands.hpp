#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe api-keys create|list|revoke`.
void add_key_commands(command_line::command& app, context& context);

} // namespace troupe::cli
