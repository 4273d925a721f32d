#pragma once

#include <string>
#include <string_view>

/// OpenBLAS and OpenMP read their environment when the library is loaded, which is before `main`. On
/// processors it does not know OpenBLAS falls back to kernels several times slower than the processor could
/// run.
namespace troupe::tensor {

/// What a processor with these abilities should run: "SkylakeX", "Haswell", or nothing where OpenBLAS's own
/// choice stands.
std::string_view blas_kernels_for(bool avx512, bool avx2) noexcept;

struct blas_setting {
  std::string kernels;  ///< The value of OPENBLAS_CORETYPE in effect; empty: OpenBLAS chose.
  std::string threads;  ///< The value of OPENBLAS_NUM_THREADS in effect.
  bool by_user = false; ///< OPENBLAS_CORETYPE was set by the user and left alone.
};

/// Puts OPENBLAS_CORETYPE (from cpuid), OPENBLAS_NUM_THREADS and OMP_WAIT_POLICY=passive into the environment
/// and starts this program again in place, once. Values the user has set are left alone. Call it first in
/// `main`, before anything of libtorch runs and before there are threads. Returns where nothing was left to
/// change, or where the program could not be started again: the kernels are then slower, and nothing else
/// differs.
blas_setting choose_blas_kernels(char** argv, unsigned threads);

} // namespace troupe::tensor
