#include "services/trainer/config.hpp"

namespace troupe::trainer {

void config::bind(config_keys& keys) {
  using namespace std::chrono_literals;
  keys.add("worker", worker, "Program that trains one rank: a path, or a name beside this program.");
  keys.add("runs_at_once", runs_at_once, "Runs that train at the same time; the others wait.",
           between(1, 64));
  keys.add("registry_patience", registry_patience,
           "How long a finished run tries to publish before it keeps its model in its folder only.",
           between(0s, 24h));
  keys.add("snapshot_memory_bytes", snapshot_memory_bytes, "Memory of one snapshot of the log.",
           at_least(64 << 20), "bytes");
}

} // namespace troupe::trainer
