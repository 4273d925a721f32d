#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe catalog check|show|render`: whether the catalog is valid, what it says in full, and the files for
/// containers.
void add_catalog_commands(command_line::command& app, context& context);

} // namespace troupe::cli
