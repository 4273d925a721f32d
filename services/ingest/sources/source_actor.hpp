#pragma once

#include "services/ingest/actors.hpp"
#include "services/ingest/log/event_log.hpp"

#include "common/actor/blocking_pool.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::ingest {

/// What a source actor works with.
struct source_deps {
  std::shared_ptr<event_log> log;
  blocking_pool* readers = nullptr; ///< Outlives the actor: its tasks hold these.
  validate_function validate;
  open_function open;
  std::function<void(source_report)> report; ///< From the actor's thread.
  std::string key;
  std::string import;
  std::size_t file = 0;
  std::size_t window = 4;
  std::chrono::milliseconds longest_backoff{5000};
  /// Set when the source is stopped, so that what is being read meanwhile ends early.
  std::shared_ptr<std::atomic<bool>> stop = std::make_shared<std::atomic<bool>>(false);
};

source_actor spawn_source(caf::actor_system& system, source_deps deps);

} // namespace troupe::ingest
