#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::trainer {

/// Opens the journal and goes on with what was under way.
expected<component> make_runs_component(service_context& context);

/// Takes requests.
expected<component> make_endpoint_component(service_context& context);

} // namespace troupe::trainer
