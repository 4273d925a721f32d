#pragma once

#include "services/trainer/engine/model.hpp"
#include "services/trainer/engine/progress.hpp"

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <span>

namespace troupe::trainer::neural {

/// A part of a global batch: what one rank does in one of its passes. Samples are numbers below
/// `task::samples()`.
struct batch {
  std::span<const std::uint32_t> mine; ///< The samples whose loss is wanted.
  std::span<const std::uint32_t> all;  ///< All samples of the step, on all ranks: negatives come from here.
  std::uint64_t key = 0; ///< Of the step; every random number of the step is made from it (see dropout_mask).
};

/// What the loop trains: a network, its samples and its loss. Each rank has one, and all are alike.
///
/// The loss of a step must depend on its samples and its key alone, not on how the samples are shared between
/// ranks and passes: a task draws random numbers from `batch::key` and a sample's number, and looks for
/// in-batch negatives in `batch::all`. Then N ranks follow the loss curve of one.
class task {
public:
  virtual ~task() = default;

  /// Parameters with `requires_grad` are trained; their names go into checkpoints.
  virtual torch::nn::Module& module() = 0;

  /// Samples of one epoch.
  virtual std::uint64_t samples() const = 0;

  /// What the losses of these samples together are divided by, in the step they belong to.
  virtual double weight(std::span<const std::uint32_t> samples) const {
    return static_cast<double>(samples.size());
  }

  /// About how many bytes the loss of `mine` samples and its gradient take, of a step of `all`: what is made
  /// in a pass and freed after it, at its highest. 0: not known.
  virtual double pass_bytes(std::uint64_t /*mine*/, std::uint64_t /*all*/) const { return 0; }

  /// The sum of the losses of `of.mine`, a scalar with a gradient. Called with the module in training mode.
  virtual torch::Tensor loss(const batch& of) = 0;

  /// Questions held back to stop early by; 0: none.
  virtual std::uint64_t validation_cases() const { return 0; }

  /// The sum, over the cases [begin, end), of a figure that is better when it is higher (NDCG@10). Called
  /// with the module in evaluation mode and without gradients. `sink` hears of the cases done.
  virtual expected<double> validate(std::uint64_t /*begin*/, std::uint64_t /*end*/,
                                    const progress_sink& /*sink*/) {
    return 0.0;
  }

  /// The weights as serving takes them.
  virtual expected<trained_model> finish() = 0;
};

} // namespace troupe::trainer::neural
