#pragma once

#include "common/core/error.hpp"

#include <cstdint>
#include <functional>
#include <span>

/// Dense linear algebra through libtorch's BLAS and LAPACK, behind plain memory so that callers compile
/// without its headers.
namespace troupe::tensor {

/// Threads of one operation, for the whole process.
void use_threads(unsigned count);

/// Beside the matrix `invert_spd` holds so many numbers a row.
inline constexpr std::uint64_t numbers_to_invert_by = 2 * 512;

/// Replaces the symmetric positive definite `matrix` [size, size] by its inverse, in place and in blocks of
/// 512 columns: each is swept (Goodnight, "A tutorial on the SWEEP operator", 1979), its own block inverted
/// by Cholesky. `tell` hears of the blocks that are done and their count, in the calling thread; ec::canceled
/// where it gives false, and the matrix is then neither. ec::invalid_argument where it is not positive
/// definite.
expected<void> invert_spd(std::span<float> matrix, std::uint64_t size,
                          const std::function<bool(std::uint64_t done, std::uint64_t of)>& tell = {});

} // namespace troupe::tensor
