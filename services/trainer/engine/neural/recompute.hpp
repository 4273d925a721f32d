#pragma once

#include <torch/types.h>

#include <functional>

namespace troupe::trainer::neural {

/// `pass(x)`, of which nothing inside is kept for the backward pass: it is computed again there (activation
/// checkpointing; Chen et al., 2016). `pass` must give the same again, and its parameters must be used
/// nowhere else.
torch::Tensor recomputed(std::function<torch::Tensor(const torch::Tensor&)> pass, const torch::Tensor& x);

} // namespace troupe::trainer::neural
