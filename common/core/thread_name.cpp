#include "common/core/thread_name.hpp"

#include <pthread.h>

#include <algorithm>
#include <array>

namespace troupe {

void name_thread(std::thread& running, std::string_view name) noexcept {
  std::array<char, 16> kept{}; // What Linux keeps, with the zero at its end.
  std::ranges::copy(name.substr(0, kept.size() - 1), kept.begin());
  ::pthread_setname_np(running.native_handle(), kept.data());
}

} // namespace troupe
