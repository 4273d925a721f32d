#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::registry {

/// The registry, and the endpoint whose handlers give requests to it.
component_list components();

} // namespace troupe::registry
