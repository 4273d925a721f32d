#pragma once

#include "services/trainer/engine/model.hpp"

#include <torch/types.h>

namespace troupe::trainer::neural {

/// A copy of a tensor of numbers, from any device, as f32.
inline array array_of(const torch::Tensor& from) {
  auto plain = from.detach().to(torch::kCPU, torch::kFloat).contiguous();
  std::vector<std::uint64_t> shape(plain.sizes().begin(), plain.sizes().end());
  return array::of<float>(std::move(shape),
                          {plain.data_ptr<float>(), static_cast<std::size_t>(plain.numel())});
}

/// A copy of an array of f32.
inline torch::Tensor tensor_of(const array& from) {
  std::vector<std::int64_t> shape(from.shape.begin(), from.shape.end());
  return torch::from_blob(const_cast<std::byte*>(from.bytes.data()), shape, torch::kFloat).clone();
}

} // namespace troupe::trainer::neural
