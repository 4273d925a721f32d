#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::gateway {

/// The HTTP API and everything behind it.
expected<component> http_component(service_context& context);

/// The wire endpoint: `status`, and `inspect` for the other gateways.
expected<component> endpoint_component(service_context& context);

} // namespace troupe::gateway
