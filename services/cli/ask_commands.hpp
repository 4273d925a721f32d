#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe recommend`, `troupe similar`, `troupe explain`: the gateway as its callers see it.
void add_ask_commands(command_line::command& app, context& context);

} // namespace troupe::cli
