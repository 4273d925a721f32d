#pragma once

#include "services/ranker/release/load.hpp"

#include <map>
#include <string>
#include <vector>

namespace troupe::ranker {

/// The releases that are ready to answer, as one snapshot.
struct release_table {
  std::map<std::string, release_ptr> by_id;
  release_ptr newest; ///< That became ready last; null where none is.

  /// null where it is not ready.
  release_ptr find(const std::string& id) const {
    auto found = by_id.find(id);
    return found == by_id.end() ? nullptr : found->second;
  }

  /// Features of items that their models need.
  std::vector<std::string> item_features() const {
    std::vector<std::string> out;
    for (auto& [id, each] : by_id)
      out.insert(out.end(), each->item_features.begin(), each->item_features.end());
    return out;
  }
};

} // namespace troupe::ranker
