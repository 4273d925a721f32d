#pragma once

#include "services/ranker/client/rules.hpp"
#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/ranking/query.hpp"

#include <string_view>
#include <unordered_set>

namespace troupe::ranker {

/// Which items may be in one answer. `rules` and `asked` must outlive it.
class eligibility {
public:
  /// `leave_out_seen`: what the user has seen may not, where the rules say so too.
  eligibility(const ruleset& rules, const query& asked, bool leave_out_seen);

  void exclude(std::string_view item) { excluded_.insert(item); }
  bool excludes(std::string_view item) const { return excluded_.contains(item); }

  /// Why the item may not be in the answer, as answers name it; empty where it may. `about`: nullptr where
  /// the snapshot does not have the item.
  std::string_view reason_against(std::string_view item, const item_attributes* about) const;

private:
  const ruleset& rules_;
  const query& asked_;
  std::unordered_set<std::string_view> excluded_, seen_;
};

} // namespace troupe::ranker
