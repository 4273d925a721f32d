#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe train`, `troupe reproduce`.
void add_trainer_commands(CLI::App& app, context& context);

} // namespace troupe::cli
