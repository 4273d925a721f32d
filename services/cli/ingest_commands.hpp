#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe ingest`, `troupe log`, `troupe lake` and `troupe quarantine`: what the ingest service is asked by
/// people.
void add_ingest_commands(command_line::command& app, context& context);

} // namespace troupe::cli
