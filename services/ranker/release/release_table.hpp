#pragma once

#include "services/ranker/release/load.hpp"

#include "common/core/time.hpp"

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::ranker {

/// The releases that are ready to answer, as one snapshot.
struct release_table {
  std::map<std::string, release_ptr, std::less<>> by_id;
  release_ptr newest; ///< That became ready last; null where none is.

  /// null where it is not ready.
  release_ptr find(std::string_view id) const {
    auto found = by_id.find(id);
    return found == by_id.end() ? nullptr : found->second;
  }

  /// Works out what they make of these items, so that no request has to.
  void bind(const item_snapshot& items) const {
    for (auto& [id, each] : by_id)
      each->bindings.get(*each, items, micros_of(wall_now()));
  }

  /// The same for items that nobody has yet, but for what is made of those that come from them.
  void prepare(const item_snapshot& items) const {
    for (auto& [id, each] : by_id)
      each->bindings.prepare(*each, items, micros_of(wall_now()));
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
