#pragma once

#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/ranking/candidate.hpp"
#include "services/ranker/ranking/eligibility.hpp"
#include "services/ranker/ranking/ensemble.hpp"
#include "services/ranker/ranking/query.hpp"
#include "services/ranker/release/load.hpp"

#include <string>
#include <vector>

namespace troupe::ranker {

/// What the steps of one answer share. One thread; everything it is made of must outlive it.
struct ranking_state {
  /// `leave_out_seen`: see eligibility.
  ranking_state(const loaded_release& release, const item_snapshot& items, const query& asked,
                bool leave_out_seen);
  ranking_state(const ranking_state&) = delete;
  ranking_state& operator=(const ranking_state&) = delete;

  const loaded_release& release;
  const item_snapshot& items;
  const query& asked;
  std::vector<std::string> history; ///< With the session, the newest that models are given, oldest first.
  ensemble models;
  eligibility eligible;
  candidate_pool pool;
  ranking answer;
};

} // namespace troupe::ranker
