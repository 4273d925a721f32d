#pragma once

#include "services/ingest/event_log.hpp"
#include "services/ingest/upload_store.hpp"
#include "services/ingest/worker_pool.hpp"

#include "common/net/request.hpp"

#include <memory>

namespace troupe::ingest {

/// Answers `upload_put` and tidies up, on a thread of its own: what waits for the disk here holds up nobody
/// else. Any thread.
class upload_desk {
public:
  upload_desk(std::shared_ptr<event_log> log, std::shared_ptr<upload_store> store)
      : log_{std::move(log)}, store_{std::move(store)} {}

  void put(net::request request);

  /// Looks for what is not needed any more: after imports and replays, and now and then.
  void sweep();

  upload_store& store() noexcept { return *store_; }

private:
  std::shared_ptr<event_log> log_;
  std::shared_ptr<upload_store> store_;
  worker_pool thread_{1}; ///< Ends first.
};

} // namespace troupe::ingest
