#pragma once

#include "services/cli/context.hpp"

namespace troupe::cli {

/// `troupe evaluate` and `troupe fit`: run troupe-train, which lies beside this program, in our place, so
/// that `troupe` itself needs no libtorch.
void add_train_commands(command_line::command& app, context& context);

} // namespace troupe::cli
