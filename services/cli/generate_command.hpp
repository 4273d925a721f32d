#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe generate`: writes synthetic data with a known preference model to files that `troupe ingest` reads
/// without a mapping.
void add_generate_commands(command_line::command& app, context& context);

} // namespace troupe::cli
