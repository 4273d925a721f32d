#pragma once

#include "services/gateway/http/exchange.hpp"

#include "common/http/server.hpp"

#include <optional>

namespace troupe::gateway {

/// Takes a request in: its trace, route, caller, rate and place among those in flight. Gives the answer where
/// it is not taken. Runs on the connection's thread: a look into memory.
std::optional<http::response> admit(gateway_deps& deps, exchange& one);

} // namespace troupe::gateway
