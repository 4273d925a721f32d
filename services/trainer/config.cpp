#include "services/trainer/config.hpp"

namespace troupe::trainer {

void config::bind(config_keys& keys) {
  using namespace std::chrono_literals;
  keys.add("worker", worker, "Program that trains one rank: a path, or a name beside this program.");
  keys.add("runs_at_once", runs_at_once, "Runs that train at the same time; the others wait.",
           between(1, 64));
  keys.add("registry_patience", registry_patience,
           "How long a finished run tries to publish before the next one has its turn.", between(0s, 24h));
  keys.add(
      "publish_again", publish_again,
      "How often a run that ended while the registry was away is offered to it again; also at each start.",
      between(1s, 24h));
  keys.add("feature_store_patience", feature_store_patience,
           "How long a run waits for a feature store that is away while it fetches its training set.",
           between(0s, 24h));
  keys.add("max_waiting", max_waiting,
           "Runs that wait for their turn; more orders are refused as overloaded.", between(1, 10'000));
  keys.add("keep_runs", keep_runs,
           "Newest folders of runs that are kept. Older ones go, but for runs that have not ended and models "
           "that are nowhere else.",
           between(1, 100'000));
  keys.add("snapshot_memory_bytes", snapshot_memory_bytes, "Memory of one snapshot of the log.",
           at_least(64 << 20), "bytes");
}

} // namespace troupe::trainer
