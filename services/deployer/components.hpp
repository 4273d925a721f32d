#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::deployer {

/// Tells the rankers what to hold.
expected<component> make_release_reconciler_component(service_context& context);

/// Opens the store; the rollout under way goes on.
expected<component> make_rollout_controller_component(service_context& context);

/// Reads impressions and clicks from the event log.
expected<component> make_log_reader_component(service_context& context);

/// The endpoint, whose handlers give requests to the component `rollout_controller`.
expected<component> make_endpoint_component(service_context& context);

} // namespace troupe::deployer
