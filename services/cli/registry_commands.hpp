#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe runs`, `troupe models`, `troupe releases`, `troupe blobs`.
void add_registry_commands(CLI::App& app, context& with);

/// Those of them that send or fetch files.
void add_publish_commands(CLI::App& models, CLI::App& releases, CLI::App& app, context& with);

} // namespace troupe::cli
