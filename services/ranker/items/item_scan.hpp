#pragma once

#include "services/feature_store/client/feature_client.hpp"
#include "services/ranker/items/item_snapshot.hpp"

#include "common/core/error.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace troupe::ranker {

/// What one scan of all items asks for.
struct scan_plan {
  std::vector<std::string> names;   ///< Features, "view.feature".
  std::size_t attributes = 0;       ///< The first so many are attributes of the items...
  std::vector<std::size_t> columns; ///< ...and these are features for models.
};

/// `item_features`: of the settings; `of_models`: what the models of the releases want. Each is asked for
/// once.
scan_plan plan_scan(const std::vector<std::string>& item_features, const std::vector<std::string>& of_models);

/// Adds the items of one page. Fails with ec::corrupt where the page is not what the plan asks for.
expected<void> append_page(feature_store::feature_page page, const scan_plan& plan,
                           std::vector<item_attributes>& to);

} // namespace troupe::ranker
