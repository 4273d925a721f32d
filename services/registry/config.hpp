#pragma once

#include "common/config/keys.hpp"

#include <cstdint>
#include <string>

namespace troupe::registry {

/// The settings of the registry service: `[registry.settings]` of the catalog.
struct config {
  std::string gate; ///< Empty: `gate.toml` in the data folder of the fleet.
  std::uint64_t max_blob_bytes = std::uint64_t{64} << 30;

  void bind(config_keys& keys);
};

} // namespace troupe::registry
