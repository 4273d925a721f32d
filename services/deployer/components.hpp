#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::deployer {

/// The release reconciler, which tells the rankers what to hold; the rollout controller, which opens the
/// store and goes on with the rollout under way; the reader of impressions and clicks from the event log; the
/// endpoint, whose handlers give requests to the controller.
component_list components();

} // namespace troupe::deployer
