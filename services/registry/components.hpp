#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::registry {

/// Opens the service from the settings and spawns the actor.
expected<component> make_registry_component(service_context& context);

/// The endpoint, whose handlers give requests to the component `registry`.
expected<component> make_endpoint_component(service_context& context);

} // namespace troupe::registry
