#include "common/tensor/blas_kernels.hpp"

#include <unistd.h>

#include <cstdlib>

namespace troupe::tensor {

namespace {

// Says that we set the values below ourselves, so that the second start neither repeats nor blames the user.
constexpr const char* marker = "TROUPE_BLAS_CHOSEN";
constexpr const char* core_type = "OPENBLAS_CORETYPE";
constexpr const char* thread_count = "OPENBLAS_NUM_THREADS";

std::string value_of(const char* name) {
  const char* value = std::getenv(name); // NOLINT(concurrency-mt-unsafe): before there are threads
  return value ? value : "";
}

} // namespace

std::string_view blas_kernels_for(bool avx512, bool avx2) noexcept {
  return avx512 ? "SkylakeX" : avx2 ? "Haswell" : "";
}

blas_setting choose_blas_kernels(char** argv, unsigned threads) {
  // NOLINTBEGIN(concurrency-mt-unsafe): before there are threads
  auto chosen = value_of(marker);
  if (chosen.empty()) {
    auto by_user = !value_of(core_type).empty();
    if (!by_user) {
      std::string_view kernels;
#if defined(__x86_64__)
      __builtin_cpu_init();
      kernels = blas_kernels_for(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"),
                                 __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
#endif
      if (!kernels.empty())
        ::setenv(core_type, std::string{kernels}.c_str(), 0);
    }
    if (threads > 0)
      ::setenv(thread_count, std::to_string(threads).c_str(), 0);
    // libtorch's loops run on OpenMP's team, its products on OpenBLAS' threads. Threads of either that spin
    // while they wait take the processors from the other.
    ::setenv("OMP_WAIT_POLICY", "passive", 0);
    ::setenv(marker, by_user ? "user" : "cpuid", 1);
    ::execv("/proc/self/exe", argv);
    chosen = by_user ? "user" : "cpuid";
  }
  // What we start later decides for itself.
  ::unsetenv(marker);
  // NOLINTEND(concurrency-mt-unsafe)
  return {value_of(core_type), value_of(thread_count), chosen == "user"};
}

} // namespace troupe::tensor
