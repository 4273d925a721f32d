#pragma once

#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/ranking/item_marks.hpp"
#include "services/ranker/release/item_binding.hpp"
#include "services/ranker/release/item_filters.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace troupe::ranker {

/// Which items may be in one answer. What it is made of must outlive it.
class eligibility {
public:
  /// `marks` say which items are excluded and seen.
  eligibility(const item_snapshot& items, const item_binding& binding, const item_marks& marks,
              const std::vector<item_bits_ptr>& filters, std::int64_t now)
      : items_{items}, binding_{binding}, marks_{marks}, filters_{filters}, now_{now},
        some_expire_{!items.expiring_between(binding.bound_at(), now).empty()} {}

  bool excludes(item_ord item) const noexcept { return (marks_.at(item) & item_marks::excluded) != 0; }

  bool may_be_shown(item_ord item) const {
    if ((marks_.at(item) & (item_marks::excluded | item_marks::seen)) != 0 || !binding_.open(item))
      return false;
    if (some_expire_ && !items_.closed(item, now_).empty())
      return false;
    for (auto& each : filters_)
      if (!each->holds(item))
        return false;
    return true;
  }

  /// Why the item may not be in the answer, as answers name it; empty where it may.
  std::string_view reason_against(item_ord item) const;

private:
  const item_snapshot& items_;
  const item_binding& binding_;
  const item_marks& marks_;
  const std::vector<item_bits_ptr>& filters_;
  std::int64_t now_;
  bool some_expire_; ///< Since the binding was made.
};

} // namespace troupe::ranker
