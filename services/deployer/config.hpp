#pragma once

#include "common/config/keys.hpp"

#include <chrono>
#include <cstdint>

namespace troupe::deployer {

/// The settings of the deployer service: `[deployer.settings]` of the catalog.
struct config {
  std::chrono::milliseconds analysis_interval{1'000};
  std::chrono::milliseconds settle{2'000};
  std::chrono::milliseconds ranker_poll{1'000};
  std::chrono::milliseconds ranker_dead_after{60'000};
  std::chrono::milliseconds ask_timeout{5'000};
  std::uint32_t max_waiters = 256;
  std::uint32_t fetch_bytes = 1 << 20;
  std::chrono::milliseconds fetch_wait{1'000};

  void bind(config_keys& keys);
};

} // namespace troupe::deployer
