#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe training-set build|list|fetch|remove|verify`.
void add_training_set_commands(CLI::App& app, context& with);

} // namespace troupe::cli
