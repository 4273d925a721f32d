#pragma once

#include "services/trainer/engine/data.hpp"
#include "services/trainer/engine/neural/task.hpp"
#include "services/trainer/engine/two_tower_config.hpp"

#include <memory>
#include <span>
#include <string>

namespace troupe::trainer::neural {

/// What a two-tower model is trained from.
struct two_tower_input {
  two_tower_config config;
  std::string config_json = "{}"; ///< What model.json shall say of it.
  std::uint64_t seed = 1;
  const interactions& data;                 ///< Must outlive the task.
  std::span<const ranking_case> validation; ///< Likewise.
};

/// Two towers (Covington et al. 2016; Yi et al. 2019): one makes a vector of a user's history, the other of
/// an item. A sample is a window of a user's items, of which each but the first is predicted from those
/// before it, by softmax over the items that are predicted anywhere in the step. Each score is less the
/// logarithm of its item's frequency, which is what the chance to be in the step is proportional to; items
/// equal to the one wanted and others of the same user are left out.
std::unique_ptr<task> make_two_tower(const two_tower_input& from);

/// Scores all items with libtorch, as in training.
expected<std::unique_ptr<scorer>> two_tower_scorer(std::shared_ptr<const trained_model> model);

} // namespace troupe::trainer::neural
