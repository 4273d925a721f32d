#include "services/deployer/config.hpp"

namespace troupe::deployer {

void config::bind(config_keys& keys) {
  using namespace std::chrono_literals;
  keys.add("analysis_interval", analysis_interval, "How often a rollout looks at what was seen.",
           between(10ms, 1h));
  keys.add("settle", settle, "How long after a change of the routing table its step begins to count.",
           between(0ms, 1h));
  keys.add("ranker_poll", ranker_poll, "How often each ranker is asked what it holds.", between(10ms, 1h));
  keys.add(
      "ranker_dead_after", ranker_dead_after,
      "A ranker that has not answered for so long is not waited for: the catalog may have places for more "
      "rankers than run.",
      between(1s, 1h));
  keys.add("ask_timeout", ask_timeout, "How long a ranker or the registry may take to answer.",
           between(10ms, 10min));
  keys.add("max_waiters", max_waiters, "Callers that wait for a new routing table; one more is `overloaded`.",
           between(1, 100'000));
  keys.add("fetch_bytes", fetch_bytes, "Most bytes of the event log in one fetch of a partition.",
           between(64 << 10, 256 << 20), "bytes");
  keys.add("fetch_wait", fetch_wait, "How long a fetch waits for new events.", between(10ms, 1min));
}

} // namespace troupe::deployer
