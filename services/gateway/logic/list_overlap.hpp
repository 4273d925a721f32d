#pragma once

#include <string>
#include <vector>

namespace troupe::gateway {

/// How alike two lists of items are.
struct list_overlap {
  double share = 0; ///< Of the longer list, that both have.
  double rank_correlation =
      0; ///< Spearman's, over the items that both have; 0 where there are fewer than two.
};

list_overlap compare_lists(const std::vector<std::string>& shown, const std::vector<std::string>& other);

} // namespace troupe::gateway
