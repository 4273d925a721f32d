#include "services/trainer/engine/neural/adam.hpp"

#include "services/trainer/engine/neural/kernels.hpp"

#include <torch/utils.h>

#include <cmath>

namespace troupe::trainer::neural {

namespace {
constexpr double beta_1 = 0.9;
constexpr double beta_2 = 0.98;
constexpr double epsilon = 1e-8;

bool in_one_pass(const torch::Tensor& of) {
  return of.is_cpu() && of.scalar_type() == torch::kFloat && of.is_contiguous();
}
} // namespace

adam::adam(std::vector<torch::Tensor> parameters, double weight_decay)
    : parameters_{std::move(parameters)}, weight_decay_{weight_decay} {
  torch::NoGradGuard off;
  for (auto& each : parameters_) {
    first_.push_back(torch::zeros_like(each));
    second_.push_back(torch::zeros_like(each));
  }
}

void adam::step(double learning_rate) {
  torch::NoGradGuard off;
  ++steps_;
  auto correct_1 = 1 - std::pow(beta_1, static_cast<double>(steps_));
  auto correct_2 = std::sqrt(1 - std::pow(beta_2, static_cast<double>(steps_)));
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    auto& parameter = parameters_[i];
    auto& gradient = parameter.grad();
    auto decay = parameter.dim() >= 2 ? learning_rate * weight_decay_ : 0;
    if (in_one_pass(parameter) && in_one_pass(gradient)) {
      adam_update(parameter, gradient, first_[i], second_[i],
                  {.beta_1 = beta_1,
                   .beta_2 = beta_2,
                   .keep = static_cast<float>(1 - decay),
                   .rate = static_cast<float>(learning_rate / correct_1),
                   .unbias = static_cast<float>(1 / correct_2),
                   .epsilon = epsilon});
      continue;
    }
    first_[i].mul_(beta_1).add_(gradient, 1 - beta_1);
    second_[i].mul_(beta_2).addcmul_(gradient, gradient, 1 - beta_2);
    if (decay > 0)
      parameter.mul_(1 - decay);
    auto root = second_[i].sqrt().div_(correct_2).add_(epsilon);
    parameter.addcdiv_(first_[i], root, -learning_rate / correct_1);
  }
}

} // namespace troupe::trainer::neural
