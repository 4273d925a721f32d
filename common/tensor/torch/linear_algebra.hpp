#pragma once

#include "common/core/error.hpp"

#include <cstdint>
#include <span>

/// Dense linear algebra through libtorch's BLAS and LAPACK, behind plain memory so that callers compile
/// without its headers.
namespace troupe::tensor {

/// Threads of one operation, for the whole process.
void use_threads(unsigned count);

/// Replaces the symmetric positive definite `matrix` [size, size] by its inverse (Cholesky).
expected<void> invert_spd(std::span<float> matrix, std::uint64_t size);

} // namespace troupe::tensor
