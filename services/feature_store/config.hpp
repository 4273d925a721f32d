#pragma once

#include "common/config/keys.hpp"
#include "common/core/resource_limits.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace troupe::feature_store {

struct config {
  std::string views;
  std::string clock = "wall";
  std::uint64_t cache_bytes = std::uint64_t{512} << 20;
  std::uint64_t block_cache_bytes = std::uint64_t{32} << 20;
  std::uint32_t flush_states = 250'000;
  std::chrono::milliseconds flush_interval{2000};
  std::uint32_t fetch_bytes = 1 << 20;
  std::chrono::milliseconds fetch_wait{2000};
  std::uint32_t readers = 2;
  std::uint32_t waiting_reads = 10'000;
  std::uint32_t parked_reads = 10'000;
  std::uint32_t scanners = 2;
  std::uint64_t training_memory_bytes = std::uint64_t{512} << 20;

  void bind(config_keys& keys);
  resource_bounds holds() const { return {cache_bytes + block_cache_bytes + training_memory_bytes, 0}; }
};

} // namespace troupe::feature_store
