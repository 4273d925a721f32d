#pragma once

#include "services/ranker/release/load.hpp"

namespace troupe::ranker {

/// Answers the warm-up requests of a release, or one of our own where it has none. Fails where one has no
/// answer or a score that is not finite.
expected<void> warm_up(const loaded_release& release);

} // namespace troupe::ranker
