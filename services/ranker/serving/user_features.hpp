#pragma once

#include "services/ranker/items/item_list.hpp"

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
#include <string_view>
#include <vector>

namespace troupe::ranker {

/// What the feature store knew of one user when it was asked. Immutable once read; any thread.
struct user_features {
  struct feature {
    std::string name;
    wire::FeatureStatus status = wire::FeatureStatus::missing;
    std::int64_t age_us = -1;               ///< When it was read.
    std::optional<attribute_value> value{}; ///< Where it is present.
    std::vector<std::string_view> words{};  ///< Of a value that is a list.
  };
  user_features() = default;
  user_features(user_features&&) = default; // Words lie in their values: moved, not copied.
  user_features& operator=(user_features&&) = default;

  item_list history;              ///< Oldest first.
  std::vector<feature> features;  ///< All that were asked for, the history first, which has no value here.
  std::vector<std::string> views; ///< "view@version" behind them.
  bool deleted = false;           ///< To be treated as a stranger.
  deadline::clock::time_point read{};

  /// nullptr where it was not asked for.
  const feature* find(std::string_view name) const noexcept;
};

using user_features_ptr = std::shared_ptr<const user_features>;

/// Reads the answer to a read of one user, of which the first feature is the history.
expected<user_features> decode_user_features(const chunk& payload, const item_space& space);

/// The history as explanations show it.
std::string history_text(const item_list& history, const item_space& space);

/// A value as explanations show it; of a long list the end.
std::string value_text(const attribute_value& value);

} // namespace troupe::ranker
