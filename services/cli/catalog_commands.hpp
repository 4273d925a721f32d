#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe catalog check|show`: whether the catalog is valid, and what it says in full.
void add_catalog_commands(CLI::App& app, context& context);

} // namespace troupe::cli
