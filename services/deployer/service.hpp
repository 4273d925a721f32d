#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::deployer {

/// Tells the rankers what to hold.
expected<component> release_reconciler_component(service_context& context);

/// Opens the store; the rollout under way goes on.
expected<component> rollout_controller_component(service_context& context);

/// Reads impressions and clicks from the event log.
expected<component> reader_component(service_context& context);

/// The endpoint, whose handlers give requests to the component `rollout_controller`.
expected<component> endpoint_component(service_context& context);

} // namespace troupe::deployer
