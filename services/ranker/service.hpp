#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::ranker {

/// Opens the shelf of releases and begins to load those wanted before the last stop and those of the local
/// folder; waits for them, so that a ranker that says "ready" can answer.
expected<component> spawn_shelf(service_context& context);

/// Follows the state of all items.
expected<component> spawn_catalogue(service_context& context);

/// The threads that rank.
expected<component> spawn_desk(service_context& context);

/// Takes requests.
expected<component> spawn_endpoint(service_context& context);

} // namespace troupe::ranker
