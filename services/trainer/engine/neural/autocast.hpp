#pragma once

#include <ATen/autocast_mode.h>
#include <torch/version.h>

namespace troupe::trainer::neural {

/// While it lives products of matrices run in bfloat16.
class autocast {
public:
  static bool enabled() {
#if TORCH_VERSION_MAJOR >= 2
    return at::autocast::is_autocast_enabled(at::kCPU);
#else
    return at::autocast::is_cpu_enabled();
#endif
  }

  explicit autocast(bool on) : on_{on && !enabled()} {
    if (on_)
      set(true);
  }
  ~autocast() {
    if (!on_)
      return;
    at::autocast::clear_cache();
    set(false);
  }
  autocast(const autocast&) = delete;
  autocast& operator=(const autocast&) = delete;

private:
  static void set(bool enabled) {
#if TORCH_VERSION_MAJOR >= 2
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, enabled);
#else
    at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
    at::autocast::set_cpu_enabled(enabled);
#endif
  }

  bool on_;
};

} // namespace troupe::trainer::neural
