#pragma once

#include "services/ingest/actors.hpp"
#include "services/ingest/lake.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/actor/health.hpp"

#include <memory>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe::ingest {

struct lake_sealer_deps {
  std::shared_ptr<lake> into;
  blocking_pool* slow = nullptr; ///< Segments are written here.
  health::report report;
};

lake_sealer_actor spawn_lake_sealer(caf::actor_system& system, lake_sealer_deps deps);

} // namespace troupe::ingest
