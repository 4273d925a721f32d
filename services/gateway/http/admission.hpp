#pragma once

#include "services/gateway/http/exchange.hpp"

#include "common/http/server.hpp"

#include <memory>
#include <optional>

namespace troupe::gateway {

/// Takes a request in: its trace, route, caller, rate and place among those in flight. Gives the answer where
/// it is not taken. Runs on the connection's thread: a look into memory.
std::optional<http::response> admit(gateway_deps& deps, exchange& one);

/// The answer to a request that would not be taken in whatever its body is: for a client that waits with it.
std::optional<http::response> refuse_before_body(const std::shared_ptr<gateway_deps>& deps,
                                                 const http::request& head);

} // namespace troupe::gateway
