#pragma once

#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/ranking/candidate.hpp"
#include "services/ranker/ranking/eligibility.hpp"
#include "services/ranker/ranking/ensemble.hpp"
#include "services/ranker/ranking/query.hpp"
#include "services/ranker/ranking/scratch.hpp"
#include "services/ranker/release/load.hpp"

namespace troupe::ranker {

/// What the steps of one answer share. One thread; everything it is made of must outlive it.
struct ranking_state {
  /// `leave_out_seen`: what the user has seen may not be in the answer, where the rules say so too.
  ranking_state(const loaded_release& release, const item_snapshot& items, const query& asked,
                ranking_scratch& room, bool leave_out_seen);
  ranking_state(const ranking_state&) = delete;
  ranking_state& operator=(const ranking_state&) = delete;

  const loaded_release& release;
  const item_snapshot& items;
  const query& asked;
  ranking_scratch&
      room; ///< `history` in it: with the session, the newest that models are given, oldest first.
  item_binding_ptr binding;
  eligibility eligible;
  candidate_pool pool;
  ensemble models;
  ranking answer;

private:
  void read_request(bool leave_out_seen);
};

} // namespace troupe::ranker
