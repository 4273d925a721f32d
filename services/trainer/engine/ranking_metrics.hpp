#pragma once

#include "services/trainer/engine/data.hpp"
#include "services/trainer/engine/model.hpp"
#include "services/trainer/engine/progress.hpp"

#include <map>

namespace troupe::trainer {

/// Where the positive of one case came: of so many others so many scored higher, so many the same.
struct placing {
  std::uint64_t above = 0;
  std::uint64_t equal = 0;
  std::uint64_t others = 0;
};

/// HR@k, NDCG@k and MRR of cases with one positive each, where recall@k is HR@k. Items with the same score
/// stand in a random order, and the value is the mean over these orders, exactly: no metric depends on the
/// order of the items. MRR looks at all places. `tied` is the share of cases in which all items have the same
/// score: what the others say of those is chance.
std::map<std::string, double> ranking_metrics(std::span<const placing> placings,
                                              std::span<const std::uint32_t> cutoffs);

/// Asks `model` all `cases`. Seen items are not ranked; the positive always is. A score that is not a number
/// is an error. `sink` hears of the cases done, from the calling thread; false ends it with ec::canceled.
expected<std::map<std::string, double>> evaluate(const scorer& model, std::span<const ranking_case> cases,
                                                 std::span<const std::uint32_t> cutoffs, unsigned threads,
                                                 const progress_sink& sink = {});

} // namespace troupe::trainer
