#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe up`: starts every service of the catalog on this machine and keeps them running.
void add_up_commands(command_line::command& app, context& context);

} // namespace troupe::cli
