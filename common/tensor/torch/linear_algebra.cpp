#include "common/tensor/torch/linear_algebra.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <exception>

namespace troupe::tensor {

void use_threads(unsigned count) {
  at::set_num_threads(static_cast<int>(count));
}

expected<void> invert_spd(std::span<float> matrix, std::uint64_t size) {
  if (matrix.size() != size * size)
    return fail(ec::internal, "{} numbers are no matrix of {} rows", matrix.size(), size);
  try {
    auto length = static_cast<std::int64_t>(size);
    auto view = at::from_blob(matrix.data(), {length, length}, at::kFloat);
    auto [factor, info] = at::linalg_cholesky_ex(view);
    if (info.item<int>() != 0)
      return fail(ec::invalid_argument,
                  "a matrix of {} rows is not positive definite: raise the regularization", size);
    view.copy_(at::cholesky_inverse(factor));
    return {};
  } catch (const std::exception& err) {
    return fail(ec::internal, "cannot invert a matrix of {} rows: {}", size, err.what());
  }
}

} // namespace troupe::tensor
