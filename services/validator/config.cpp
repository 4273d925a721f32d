#include "services/validator/config.hpp"

namespace troupe::validator {

void config::bind(config_keys& keys) {
  using namespace std::chrono_literals;
  keys.add(
      "schemas", schemas,
      "Folder of the schema files (*.toml). Empty: the folder `schemas` in the data folder of the fleet.");
  keys.add("reload_every", reload_every,
           "How often that folder is looked at, at most; it is looked at when a request arrives.",
           between(10ms, 1h));
  keys.add("profile", profile, "Keep a live profile of every source.");
  keys.add("persist_rows", persist_rows,
           "Rows of a source that may be judged before its profile is written. What is not written when the "
           "process is killed is missing "
           "from the profile; 1 writes it with every batch.",
           between(1, 1'000'000'000));
  keys.add("max_sources", max_sources,
           "Sources with a live profile, some 300 KiB of memory each. Rows of further ones are judged and "
           "not profiled.",
           between(1, 100'000));
  keys.add("cache_bytes", cache_bytes, "Block cache of the index of unique values.", at_least(1 << 20),
           "bytes");
  keys.add("sync_unique", sync_unique,
           "Sync newly taken unique values to disk before a batch is answered. Off: they survive kill -9, "
           "not power loss.");
}

} // namespace troupe::validator
