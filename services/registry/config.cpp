#include "services/registry/config.hpp"

namespace troupe::registry {

void config::bind(config_keys& keys) {
  keys.add("gate", gate,
           "The quality gate (TOML), read at each registration. Empty: gate.toml in the data folder of the "
           "fleet; no "
           "file, no gate.");
  keys.add("max_blob_bytes", max_blob_bytes, "Largest artefact that is taken.", at_least(1 << 20), "bytes");
}

} // namespace troupe::registry
