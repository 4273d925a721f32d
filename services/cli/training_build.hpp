#pragma once

#include "services/feature_store/client/training_fetch.hpp"

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/net/client.hpp"

#include "schemas/feature_store_generated.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace troupe::cli {

using feature_store::training_builder;

/// Who follows a build, and for how long.
struct build_watch {
  /// A feature store that is away, or refuses for a while, is asked again for so long.
  std::chrono::milliseconds patience{60'000};
  /// Whether the build shall be canceled. Asked before each look at it.
  std::function<bool()> interrupted;
  /// Hears of every look.
  std::function<void(const wire::TrainingStatus&)> tell;
  /// Hears once, each time the feature store does not answer, why.
  std::function<void(const error&)> waits;
};

/// Has the feature store build the training set of this specification (TOML), and follows that to its end:
/// the verified bytes of its last wire::TrainingStatus, done, failed or canceled. A feature store that is
/// started again meanwhile is told to go on, but for a build that was to be canceled: that is ec::canceled.
/// Blocks.
expected<chunk> follow_training_build(net::client& store, const std::string& spec, const build_watch& watch);

} // namespace troupe::cli
