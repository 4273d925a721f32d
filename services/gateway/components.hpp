#pragma once

#include "common/actor/component_list.hpp"

namespace troupe::gateway {

/// The state that all share, an actor each for what is done beside requests (actors.hpp), the HTTP server,
/// and the wire endpoint.
component_list components();

} // namespace troupe::gateway
