#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace troupe::trainer::neural {

/// AdamW (Loshchilov and Hutter, 2019): Adam with decoupled weight decay, here on parameters of two and more
/// dimensions. Its state is two tensors a parameter and the number of steps.
class adam {
public:
  adam(std::vector<torch::Tensor> parameters, double weight_decay);

  /// One step along the parameters' gradients.
  void step(double learning_rate);

  std::uint64_t steps() const noexcept { return steps_; }
  void set_steps(std::uint64_t steps) noexcept { steps_ = steps; }
  std::vector<torch::Tensor>& first_moments() noexcept { return first_; }
  std::vector<torch::Tensor>& second_moments() noexcept { return second_; }

private:
  std::vector<torch::Tensor> parameters_;
  std::vector<torch::Tensor> first_;
  std::vector<torch::Tensor> second_;
  double weight_decay_;
  std::uint64_t steps_ = 0;
};

} // namespace troupe::trainer::neural
