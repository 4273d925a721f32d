#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe api-keys create|list|revoke`.
void add_key_commands(CLI::App& app, context& context);

} // namespace troupe::cli
