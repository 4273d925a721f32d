#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe recommend USER`, `troupe similar ITEM` and `troupe rankers [prepare]`: the rankers, asked
/// directly.
void add_ranker_commands(command_line::command& app, context& context);

} // namespace troupe::cli
