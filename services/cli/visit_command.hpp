#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe visit`, `troupe recommend`, `troupe explain`: the gateway as its callers see it.
void add_visit_commands(CLI::App& app, context& context);

} // namespace troupe::cli
