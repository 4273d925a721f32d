#pragma once

#include "services/ranker/items/item_space.hpp"

#include "common/model/scorer.hpp"

#include <cstddef>
#include <limits>
#include <vector>

namespace troupe::ranker {

inline constexpr model::row no_row = std::numeric_limits<model::row>::max();

/// The items of one vocabulary: which ordinal a row of a model stands for, and which row an ordinal has.
/// Immutable; models with the same vocabulary share one.
class item_rows {
public:
  /// Adds items that the space does not know yet.
  item_rows(const model::vocabulary& of, item_space& space) {
    items_.reserve(of.size());
    for (model::row r = 0; r < of.size(); ++r)
      items_.push_back(space.add(of.id(r)));
    for (model::row r = 0; r < items_.size(); ++r) {
      auto at = index_of(items_[r]);
      if (at >= rows_.size())
        rows_.resize(at + std::size_t{1}, no_row);
      rows_[at] = r;
    }
  }

  std::size_t size() const noexcept { return items_.size(); }
  item_ord item(model::row at) const noexcept { return items_[at]; }

  /// no_row where the model does not know the item.
  model::row find(item_ord item) const noexcept {
    return index_of(item) < rows_.size() ? rows_[index_of(item)] : no_row;
  }

  /// Ordinals of its items are below it.
  std::size_t limit() const noexcept { return rows_.size(); }

private:
  std::vector<item_ord> items_;
  std::vector<model::row> rows_;
};

} // namespace troupe::ranker
