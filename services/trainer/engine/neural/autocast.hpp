#pragma once

#include <ATen/autocast_mode.h>
#include <c10/core/Device.h>
#include <torch/version.h>

namespace troupe::trainer::neural {

// From 2.4 on the functions take the device; before it each device has its own.
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
#define TROUPE_AUTOCAST_BY_DEVICE
#endif

/// While it lives products of matrices on devices of this type run in bfloat16.
class autocast {
public:
  static bool enabled(c10::DeviceType on) {
#ifdef TROUPE_AUTOCAST_BY_DEVICE
    return at::autocast::is_autocast_enabled(on);
#else
    return on == at::kCUDA ? at::autocast::is_enabled() : at::autocast::is_cpu_enabled();
#endif
  }

  autocast(bool on, c10::DeviceType device) : device_{device}, on_{on && !enabled(device)} {
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
  void set(bool enabled) const {
#ifdef TROUPE_AUTOCAST_BY_DEVICE
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::set_autocast_enabled(device_, enabled);
#else
    if (device_ == at::kCUDA) {
      at::autocast::set_autocast_gpu_dtype(at::kBFloat16);
      at::autocast::set_enabled(enabled);
    } else {
      at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
      at::autocast::set_cpu_enabled(enabled);
    }
#endif
  }

  c10::DeviceType device_;
  bool on_;
};

} // namespace troupe::trainer::neural
