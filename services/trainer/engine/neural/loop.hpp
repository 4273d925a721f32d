#pragma once

#include "services/trainer/engine/loop_config.hpp"
#include "services/trainer/engine/neural/gradients.hpp"
#include "services/trainer/engine/neural/task.hpp"
#include "services/trainer/engine/progress.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace troupe::trainer::neural {

struct loop_setting {
  loop_config config;
  std::uint64_t seed = 1;
  std::uint64_t memory_cap = 0;      ///< Bytes of this process, reckoned before the first step and looked at
                                     ///< after each sixteenth; more ends the training. 0: no cap.
  std::filesystem::path checkpoints; ///< Empty: none are written.
  bool resume = false;
  std::string identity; ///< Of configuration and data: a checkpoint of another is refused.
};

struct loop_result {
  std::uint64_t steps = 0;
  std::uint64_t resumed_at = 0;    ///< The step of the checkpoint it went on from; 0: none.
  std::uint64_t epochs = 0;        ///< Whose weights are kept: the best ones where there was validation.
  std::optional<double> validated; ///< The figure of those weights.
  std::vector<double> losses;      ///< Of each step of this life.
  double samples_per_second = 0;
  overlap_figures overlap;
};

/// Trains `what` on all ranks of `group`: AdamW, a schedule of the learning rate, accumulation, clipping,
/// autocast, validation with early stopping, checkpoints. The module ends with the weights to keep.
///
/// Steps, samples and random numbers depend on the seed alone: N ranks follow the loss curve of one within
/// rounding, and a training that goes on from a checkpoint ends with the same bytes as one that never
/// stopped. Every rank calls `sink` after each step; where one gives false all ranks stop after the next step
/// with ec::canceled, rank 0 having written a checkpoint. From then on the process keeps memory it frees, up
/// to 1 GiB, for its next tensors.
expected<loop_result> train(task& what, process_group& group, const loop_setting& setting,
                            const progress_sink& sink);

} // namespace troupe::trainer::neural
