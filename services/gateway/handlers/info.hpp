#pragma once

#include "common/http/server.hpp"

namespace troupe::gateway {

struct gateway_deps;

// What needs nobody else, answered on the connection's thread.
http::response answer_root(const gateway_deps& deps, const http::request& asked);
http::response answer_live(const gateway_deps& deps, const http::request& asked);
http::response answer_ready(const gateway_deps& deps, const http::request& asked);
http::response answer_metrics(const gateway_deps& deps, const http::request& asked);
http::response answer_openapi(const gateway_deps& deps, const http::request& asked);

} // namespace troupe::gateway
