#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe features list|get|state-hash`, `troupe views check`.
void add_feature_commands(command_line::command& app, context& with);

} // namespace troupe::cli
