#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::trainer {

/// Opens the journal and goes on with what was under way.
expected<component> spawn_run_component(service_context& context);

/// Takes requests.
expected<component> spawn_endpoint(service_context& context);

} // namespace troupe::trainer
