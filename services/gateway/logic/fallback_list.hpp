#pragma once

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

/// Best first.
using fallback_list = std::vector<fallback_item>;
using fallback_items_ptr = std::shared_ptr<const fallback_list>;

/// As it is kept over a restart: JSON.
std::string write_fallback_list(const fallback_list& list);
expected<fallback_list> read_fallback_list(std::string_view text);

} // namespace troupe::gateway
