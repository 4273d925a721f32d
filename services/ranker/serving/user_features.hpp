#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include "schemas/feature_store_generated.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::ranker {

/// What the feature store knew of one user when it was asked. Immutable once read; any thread.
struct user_features {
  struct feature {
    std::string name;
    wire::FeatureStatus status = wire::FeatureStatus::missing;
    std::int64_t age_us = -1;         ///< When it was read.
    std::optional<std::size_t> value; ///< Its place in `values`.
  };
  std::vector<std::string> history;
  std::vector<feature> features;  ///< All that were asked for, the history first.
  std::vector<attribute> values;  ///< Those that are present, by "view.feature".
  std::vector<std::string> views; ///< "view@version" behind them.
  bool deleted = false;           ///< To be treated as a stranger.
  deadline::clock::time_point read{};
};

using user_features_ptr = std::shared_ptr<const user_features>;

/// Reads the answer to a read of one user, of which the first feature is the history.
expected<user_features> decode_user_features(const chunk& payload);

/// A value as explanations show it; of a long list the end.
std::string value_text(const attribute_value& value);

} // namespace troupe::ranker
