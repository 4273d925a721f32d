#pragma once

#include "common/config/keys.hpp"
#include "common/core/resource_limits.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace troupe::validator {

/// The settings of the validator service: `[validator.settings]` of the catalog.
struct config {
  std::string schemas; ///< Empty: `schemas` in the data folder of the fleet.
  std::chrono::milliseconds reload_every{1000};
  bool profile = true;
  std::uint64_t persist_rows = 20'000;
  std::uint32_t max_sources = 1000;
  std::uint64_t cache_bytes = std::uint64_t{32} << 20;
  bool sync_unique = true;

  void bind(config_keys& keys);
  resource_bounds holds() const { return {cache_bytes, 0}; }
};

} // namespace troupe::validator
