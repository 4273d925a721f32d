#pragma once

#include "services/trainer/engine/loop_config.hpp"
#include "services/trainer/engine/neural/task.hpp"

namespace troupe::trainer::neural {

/// Whether `model` is a network that the loop trains.
bool is_neural(const std::string& model);

/// How the network of `config` is trained, a DCN too: the table of its kind.
const loop_config& loop_of(const train_config& config);

/// The network of `config.model` with its first weights, which the seed decides. `data` and `validation` must
/// outlive it.
expected<std::unique_ptr<task>> make_task(const train_config& config, const interactions& data,
                                          std::span<const ranking_case> validation);

/// The scorer of any model, classic or neural; it shares the weights.
expected<std::unique_ptr<scorer>> open_scorer(std::shared_ptr<const trained_model> model);

} // namespace troupe::trainer::neural
