#include "services/feature_store/config.hpp"

namespace troupe::feature_store {

void config::bind(config_keys& keys) {
  using namespace std::chrono_literals;
  keys.add("views", views,
           "File or folder of the feature views, relative to the catalog. Empty: the folder `views` in the "
           "data folder of the fleet or else beside the catalog when it holds any, else those shipped.");
  keys.add("clock", clock,
           "When a read happens that names no instant: wall (now) or watermark (the newest event applied).",
           one_of({"wall", "watermark"}));
  keys.add("cache_bytes", cache_bytes,
           "Feature states kept in memory, those not yet written included: a quarter of it, or 64 MiB, makes "
           "them be written.",
           at_least(1 << 20), "bytes");
  keys.add("block_cache_bytes", block_cache_bytes, "Block cache of the store.", at_least(1 << 20), "bytes");
  keys.add("flush_states", flush_states, "Changed states that are written at the latest.",
           between(1, 10'000'000));
  keys.add("flush_interval", flush_interval,
           "How often changed states are written: what is lost with a process is applied again from the log.",
           between(10ms, 60s));
  keys.add("fetch_bytes", fetch_bytes, "Credit: bytes asked of a partition of the log at once.",
           between(1 << 10, 64 << 20), "bytes");
  keys.add("fetch_wait", fetch_wait, "How long a fetch waits for new records.", between(10ms, 60s));
  keys.add("readers", readers, "Threads that answer reads.", between(1, 64));
  keys.add("waiting_reads", waiting_reads, "Reads that may wait for such a thread.", between(1, 1'000'000));
  keys.add("parked_reads", parked_reads, "Reads that may wait until the offsets which they name are applied.",
           between(1, 1'000'000));
  keys.add("scanners", scanners, "Threads that answer everything but reads: scans, views, training sets.",
           between(1, 64));
  keys.add("training_memory_bytes", training_memory_bytes, "Memory of one training set under construction.",
           at_least(64 << 20), "bytes");
}

} // namespace troupe::feature_store
