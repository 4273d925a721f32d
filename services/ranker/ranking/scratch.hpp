#pragma once

#include "services/ranker/ranking/candidate.hpp"
#include "services/ranker/ranking/item_marks.hpp"
#include "services/ranker/release/item_filters.hpp"

#include "common/model/item_index.hpp"
#include "common/model/scorer.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace troupe::ranker {

/// What is looked for among the vectors of one model, and found.
struct nearest_search {
  std::span<const float> vector;
  std::vector<std::uint64_t> allowed;
  std::vector<model::item_index::hit> found;
  std::size_t most = 0; ///< 0: it is not searched.
};

/// The memory that ranking one request takes, kept for the next: after the first requests nothing of it is
/// allocated any more. One request at a time has it.
struct ranking_scratch {
  item_marks marks;
  request_items names;
  std::vector<item_bits_ptr> filters; ///< Of the request.
  std::vector<item_ord> history, refused;
  std::vector<item_ord> named; ///< Seen, where these are left out, and excluded.
  std::vector<candidate> candidates, order, tail;
  std::vector<explanation> told;

  // By model.
  std::vector<model::user_context> users;
  std::vector<std::uint8_t> vector_known;
  std::vector<nearest_search> nearest;

  // Of one model at a time.
  std::vector<model::row> rows;
  std::vector<std::uint32_t> whose;
  std::vector<const float*> inputs;
  std::vector<float> scores, unknown_inputs;

  // Of one source at a time.
  std::vector<model::row> touched;
  std::vector<std::pair<double, model::row>> best;
  std::vector<model::reason> reasons;

  std::vector<double> closest;
  std::vector<std::uint8_t> taken;
};

} // namespace troupe::ranker
