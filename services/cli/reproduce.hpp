#pragma once

#include "services/cli/context.hpp"

#include <string>

namespace troupe::cli {

/// Trains what has this name again and compares hashes; says no where they differ. A model: its weights. A
/// release: every model of it, then the bundle that these make, whose hash is to be the release's id. The
/// registry is changed by neither.
expected<void> reproduce(context& with, const std::string& what);

} // namespace troupe::cli
