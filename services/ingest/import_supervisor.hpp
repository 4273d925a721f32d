#pragma once

#include "services/ingest/actors.hpp"
#include "services/ingest/config.hpp"
#include "services/ingest/upload_desk.hpp"
#include "services/ingest/worker_pool.hpp"

#include "common/actor/health.hpp"

#include <memory>
#include <vector>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::ingest {

struct supervisor_setup {
  std::shared_ptr<event_log> log;
  std::shared_ptr<worker_pool> readers; ///< Files are read here.
  std::shared_ptr<worker_pool> servers; ///< Plans are made and kept here.
  judge_function judge;
  std::shared_ptr<upload_desk> uploads;
  std::shared_ptr<const config> settings;
  health::report report;
};

/// What the log keeps of earlier imports; those that were running are resumed when these are given to the
/// supervisor.
expected<std::vector<planned_ptr>> load_imports(event_log& log);

import_supervisor_actor spawn_import_supervisor(caf::actor_system& system, supervisor_setup setup,
                                                std::vector<planned_ptr> known);

} // namespace troupe::ingest
