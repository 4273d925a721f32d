#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe runs`, `troupe models`, `troupe releases`, `troupe blobs`.
void add_registry_commands(command_line::command& app, context& with);

/// Those of them that send or fetch files.
void add_publish_commands(command_line::command& models, command_line::command& releases,
                          command_line::command& app, context& with);

} // namespace troupe::cli
