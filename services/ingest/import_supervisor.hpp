#pragma once

#include "services/ingest/actors.hpp"
#include "services/ingest/config.hpp"
#include "services/ingest/log/event_log.hpp"
#include "services/ingest/upload_handler.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/actor/health.hpp"
#include "common/metrics/metrics.hpp"

#include <memory>
#include <vector>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::ingest {

/// What the import supervisor works with.
struct import_supervisor_deps {
  std::shared_ptr<event_log> log;
  blocking_pool* readers = nullptr; ///< Files are read here.
  blocking_pool* servers = nullptr; ///< Plans are made and kept here.
  validate_function validate;
  std::shared_ptr<upload_handler> uploads;
  std::shared_ptr<const config> settings;
  health::report report;
  metrics::gauge lag_bytes; ///< Of the files of running imports: what is not in the log yet.
};

/// What the log keeps of earlier imports; those that were running are resumed when these are given to the
/// supervisor.
expected<std::vector<import_record>> load_imports(event_log& log);

import_supervisor_actor spawn_import_supervisor(caf::actor_system& system, import_supervisor_deps deps,
                                                std::vector<import_record> known);

} // namespace troupe::ingest
