#include "services/ingest/config.hpp"

namespace troupe::ingest {

void config::bind(config_keys& keys) {
  using namespace std::chrono_literals;
  keys.add("partitions", partitions, "Partitions of the event log; fixed once the log is made.",
           between(1, 1024));
  keys.add("cache_bytes", cache_bytes, "Block cache of the log's store.", at_least(1 << 20), "bytes");
  keys.add("write_buffer_bytes", write_buffer_bytes, "Writes the store keeps in memory before a table file.",
           at_least(1 << 20), "bytes");
  keys.add("queue_bytes", queue_bytes, "Records that may wait for a commit; more are refused as overloaded.",
           at_least(1 << 20), "bytes");
  keys.add("allowed_lateness", allowed_lateness,
           "An event this much older than the newest of its partition counts as late.", at_least(0us));
  keys.add("dedup_for", dedup_for,
           "An id is known for so long after its record came: what comes again later is taken again.",
           between(1h, 10 * 365 * 24h));
  keys.add("batch_rows", batch_rows, "Rows of a source that are validated and appended together.",
           between(1, 20'000));
  keys.add("batches_in_flight", batches_in_flight,
           "Batches of one source under way at a time: the back-pressure.", between(1, 64));
  keys.add("files_at_once", files_at_once, "Files that are read at the same time.", between(1, 64));
  keys.add("readers", readers, "Threads that read and map files.", between(1, 64));
  keys.add("servers", servers, "Threads that answer requests from the log.", between(1, 64));
  keys.add("validation", validation,
           "Who validates records: the validator service, or none but the built-in checks.",
           one_of({"validator", "none"}));
  keys.add("validation_timeout", validation_timeout, "How long one batch may be at the validator.",
           between(100ms, 600'000ms));
  keys.add("longest_backoff", longest_backoff, "Longest wait before something that failed is tried again.",
           between(10ms, 600'000ms));
  keys.add("restarts", restarts, "How often the reading of a file starts again after a passing error.",
           between(0, 1000));
  keys.add("segment_records", segment_records,
           "Records of a partition that become one Parquet file of the lake.", between(1, 100'000'000));
  keys.add("upload_bytes", upload_bytes,
           "Files sent to be imported, all together: what nobody needs makes room, then more are refused.",
           at_least(1 << 20), "bytes");
  keys.add(
      "upload_keep", upload_keep,
      "How long such files stay when their import refused rows, failed or never began; otherwise they go "
      "when it is done.",
      between(1min, 365 * 24h));
  keys.add("keep_log", keep_log,
           "How long a record stays in the event log when it is in the lake, from where it is read then.",
           at_least(0s));
  keys.add("keep_quarantine", keep_quarantine, "How long a refused row stays, replayed or not.",
           at_least(0s));
  keys.add("lake", lake, "Folder of the lake; empty: lake below the data folder of this replica.");
}

} // namespace troupe::ingest
