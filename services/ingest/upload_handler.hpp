#pragma once

#include "services/ingest/log/event_log.hpp"
#include "services/ingest/upload_store.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/net/request.hpp"

#include <memory>

namespace troupe::ingest {

/// Answers `upload_put` and tidies up, on a thread of its own: what waits for the disk here holds up nobody
/// else. Any thread.
class upload_handler {
public:
  upload_handler(std::shared_ptr<event_log> log, std::shared_ptr<upload_store> store,
                 metrics::registry& registry)
      : log_{std::move(log)}, store_{std::move(store)}, thread_{{"ingest-upload", 1}, registry} {}

  void put(net::request request);

  /// Looks for what is not needed any more: after imports and replays, and now and then. Where too much waits
  /// already, the next one does it.
  void sweep();

  upload_store& store() noexcept { return *store_; }

private:
  std::shared_ptr<event_log> log_;
  std::shared_ptr<upload_store> store_;
  blocking_pool thread_; ///< Ends first.
};

} // namespace troupe::ingest
