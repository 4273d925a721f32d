#include "common/tensor/torch/linear_algebra.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <exception>

namespace troupe::tensor {

void use_threads(unsigned count) {
  at::set_num_threads(static_cast<int>(count));
}

expected<void> invert_spd(std::span<float> matrix, std::uint64_t size,
                          const std::function<bool(std::uint64_t done, std::uint64_t of)>& tell) {
  if (matrix.size() != size * size)
    return fail(ec::internal, "{} numbers are no matrix of {} rows", matrix.size(), size);
  constexpr std::int64_t width = 512;
  auto length = static_cast<std::int64_t>(size);
  auto blocks = (length + width - 1) / width;
  auto rows_of = [&](std::int64_t block) { return std::min(width, length - block * width); };
  try {
    auto all = at::from_blob(matrix.data(), {length, length}, at::kFloat);
    auto block = [&](std::int64_t row, std::int64_t column) {
      return all.narrow(0, row * width, rows_of(row)).narrow(1, column * width, rows_of(column));
    };
    // Only the blocks on the diagonal and below it are kept up to date. After all sweeps they hold the
    // inverse with the other sign.
    for (std::int64_t k = 0; k < blocks; ++k) {
      auto [factor, info] = at::linalg_cholesky_ex(block(k, k));
      if (info.item<int>() != 0)
        return fail(ec::invalid_argument,
                    "a matrix of {} rows is not positive definite: raise the regularization", size);
      auto inverse = at::cholesky_inverse(factor);
      auto column = at::empty({length, rows_of(k)}, at::kFloat);
      for (std::int64_t i = 0; i < blocks; ++i)
        column.narrow(0, i * width, rows_of(i)).copy_(i < k ? block(k, i).t() : block(i, k));
      auto product = at::matmul(column, inverse);
      for (std::int64_t i = 0; i < blocks; ++i) {
        auto mine = product.narrow(0, i * width, rows_of(i));
        if (i == k) {
          block(k, k).copy_(inverse.neg());
          if (k > 0)
            all.narrow(0, k * width, rows_of(k))
                .narrow(1, 0, k * width)
                .copy_(product.narrow(0, 0, k * width).t());
        } else {
          // The blocks left of it and the one on the diagonal; what stands in column k comes after.
          auto last = i * width + rows_of(i);
          auto row = all.narrow(0, i * width, rows_of(i));
          if (i < k) {
            row.narrow(1, 0, last).addmm_(mine, column.narrow(0, 0, last).t(), 1, -1);
          } else {
            if (k > 0)
              row.narrow(1, 0, k * width).addmm_(mine, column.narrow(0, 0, k * width).t(), 1, -1);
            auto after = (k + 1) * width;
            row.narrow(1, after, last - after).addmm_(mine, column.narrow(0, after, last - after).t(), 1, -1);
            block(i, k).copy_(mine);
          }
        }
        if (tell && !tell(static_cast<std::uint64_t>(k * blocks + i + 1),
                          static_cast<std::uint64_t>(blocks * blocks)))
          return fail(ec::canceled, "inverting a matrix of {} rows was canceled", size);
      }
    }
    for (std::int64_t i = 0; i < blocks; ++i)
      for (std::int64_t j = 0; j <= i; ++j) {
        block(i, j).neg_();
        if (i != j)
          block(j, i).copy_(block(i, j).t());
      }
    return {};
  } catch (const std::exception& err) {
    return fail(ec::internal, "cannot invert a matrix of {} rows: {}", size, err.what());
  }
}

} // namespace troupe::tensor
