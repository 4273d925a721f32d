#pragma once

#include "services/ranker/items/item_space.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::ranker {

/// Items in the order in which they were named, kept for longer than a request: ordinals, and the ids of the
/// few that the space did not know then. It does not add them to it: anybody can send an id that is none.
class item_list {
public:
  item_list() = default;

  template <class Ids>
  item_list(const item_space& space, const Ids& ids) {
    items_.reserve(ids.size());
    for (auto& each : ids)
      add(space, each);
  }

  void add(const item_space& space, std::string_view id) {
    items_.push_back(space.find(id));
    if (items_.back() == no_item)
      unknown_.emplace_back(items_.size() - 1, id);
  }

  std::size_t size() const noexcept { return items_.size(); }
  bool empty() const noexcept { return items_.empty(); }

  /// no_item: see `unknown`.
  const std::vector<item_ord>& items() const noexcept { return items_; }

  /// Place and id of those that the space did not know, by place.
  const std::vector<std::pair<std::size_t, std::string>>& unknown() const noexcept { return unknown_; }

private:
  std::vector<item_ord> items_;
  std::vector<std::pair<std::size_t, std::string>> unknown_;
};

} // namespace troupe::ranker
