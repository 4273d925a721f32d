#pragma once

#include "services/feature_store/client/feature_client.hpp"

#include "common/core/error.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::gateway {

/// An item that an answer may show without a ranker.
struct fallback_item {
  std::string item, title;
};

struct fallback_list {
  std::vector<fallback_item> items;      ///< Best first.
  feature_store::applied_offsets seen{}; ///< Records of the log that it knows; none after a restart.
};
using fallback_items_ptr = std::shared_ptr<const std::vector<fallback_item>>;

/// Its items as they are kept over a restart: JSON.
std::string write_fallback_list(const fallback_list& list);
expected<fallback_list> read_fallback_list(std::string_view text);

} // namespace troupe::gateway
