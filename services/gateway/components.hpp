#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::gateway {

/// What requests and actors share: the database, the services behind us, the API keys.
expected<component> make_state_component(service_context& context);

// One actor each; see actors.hpp.
expected<component> make_routing_component(service_context& context);
expected<component> make_reports_component(service_context& context);
expected<component> make_fallback_component(service_context& context);
expected<component> make_impressions_component(service_context& context);
/// Looks at the API keys and at the counters of the outbox each second.
expected<component> make_keys_component(service_context& context);
/// Forgets old requests and row times.
expected<component> make_expiry_component(service_context& context);

/// The HTTP server.
expected<component> make_http_component(service_context& context);

/// The wire endpoint: `status`, and `inspect` for the other gateways.
expected<component> make_endpoint_component(service_context& context);

} // namespace troupe::gateway
