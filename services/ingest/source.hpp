#pragma once

#include "services/ingest/actors.hpp"
#include "services/ingest/worker_pool.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::ingest {

struct source_setup {
  std::shared_ptr<event_log> log;
  std::shared_ptr<worker_pool> readers;
  judge_function judge;
  open_function open;
  std::function<void(source_report)> report; ///< From the actor's thread.
  std::string key;
  std::string import;
  std::size_t file = 0;
  std::size_t window = 4;
  std::chrono::milliseconds longest_backoff{5000};
};

source_actor spawn_source(caf::actor_system& system, source_setup setup);

} // namespace troupe::ingest
