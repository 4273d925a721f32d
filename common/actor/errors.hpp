#pragma once

#include "common/core/error.hpp"

#include <caf/error.hpp>

namespace troupe {

/// Our error as actors send it: category `troupe`, the code, the text in the context.
caf::error to_caf(const error& err);

/// What came out of a request. Timeouts become too_late, an actor that has ended becomes stopping, errors of
/// other categories internal.
error from_caf(const caf::error& err);

} // namespace troupe
