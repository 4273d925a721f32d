#pragma once

#include "common/config/keys.hpp"
#include "common/core/resource_limits.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace troupe::trainer {

struct config {
  std::string worker = "troupe-trainer-worker";
  std::uint32_t runs_at_once = 1;
  std::chrono::seconds registry_patience{60};
  std::chrono::seconds publish_again{60};
  std::chrono::seconds feature_store_patience{600};
  std::uint32_t max_waiting = 100;
  std::uint32_t keep_runs = 20;
  std::uint64_t snapshot_memory_bytes = std::uint64_t{512} << 20;

  void bind(config_keys& keys);
  resource_bounds holds() const { return {snapshot_memory_bytes * runs_at_once, 0}; }
};

} // namespace troupe::trainer
