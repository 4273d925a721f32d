#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::feature_store {

/// Opens views and states; shares "engine" and the other parts.
expected<component> spawn_states(service_context& context);

/// Follows the log.
expected<component> spawn_log_consumer(service_context& context);

/// Builds training sets, one at a time.
expected<component> spawn_training(service_context& context);

/// Takes requests.
expected<component> spawn_endpoint(service_context& context);

} // namespace troupe::feature_store
