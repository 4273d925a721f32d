#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::deployer {

/// Tells the rankers what to hold.
expected<component> keeper_component(service_context& context);

/// Opens the journal; the rollout under way goes on.
expected<component> desk_component(service_context& context);

/// Reads impressions and clicks from the event log.
expected<component> reader_component(service_context& context);

/// The endpoint, whose handlers give requests to the component `desk`.
expected<component> endpoint_component(service_context& context);

} // namespace troupe::deployer
