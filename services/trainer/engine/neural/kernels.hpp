#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>
#include <vector>

/// What libtorch has no fast operation for, with gradients where there are some. Rows are samples or
/// positions; float32.
namespace troupe::trainer::neural {

/// Row i of the result is row `from[i]` of `x` [rows, width], or zeros where it is -1. A row of `x` may be
/// taken once at most.
torch::Tensor take_rows(const torch::Tensor& x, const std::vector<std::int64_t>& from);

/// `x` [rows, width] with a share of its numbers set to zero and the rest divided by what is left. Which ones
/// depends on the key of the row, the key of the layer and the column alone: not on the rank that works on
/// the row, nor on what stands beside it.
torch::Tensor drop(const torch::Tensor& x, double share, std::uint64_t layer_key,
                   std::span<const std::uint64_t> row_keys);

/// The sum over rows of the cross-entropy of softmax(`hidden` [rows, width] times `items`' [count, width]
/// transposed) at `targets` [rows]. On the CPU gradients are made with the loss, in pieces of some rows: the
/// [rows, count] matrix of scores is never whole in memory. On a GPU it is.
torch::Tensor softmax_loss(const torch::Tensor& hidden, const torch::Tensor& items,
                           const std::vector<std::int64_t>& targets);

/// What one step of AdamW does to every number of a parameter.
struct adam_step {
  float beta_1 = 0, beta_2 = 0;
  float keep = 1;    ///< 1 - learning rate * weight decay
  float rate = 0;    ///< Learning rate over the correction of the first moment.
  float unbias = 1;  ///< One over the root of the correction of the second.
  float epsilon = 0; ///< Added to the root of the second moment.
};

/// Moves `parameter` along `gradient` and updates its moments, in one pass over memory: tables of embeddings
/// are larger than caches, and libtorch's operations make eight. All are of one size, contiguous and on the
/// CPU.
void adam_update(torch::Tensor& parameter, const torch::Tensor& gradient, torch::Tensor& first,
                 torch::Tensor& second, const adam_step& step);

} // namespace troupe::trainer::neural
