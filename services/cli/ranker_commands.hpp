#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe rankers [recommend USER|similar ITEM|prepare RELEASE...]`: the rankers, asked without the gateway.
void add_ranker_commands(command_line::command& app, context& context);

} // namespace troupe::cli
