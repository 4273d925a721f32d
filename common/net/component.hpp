#pragma once

#include "common/actor/component_list.hpp"
#include "common/actor/service_context.hpp"
#include "common/net/client.hpp"
#include "common/net/endpoint.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace troupe::net {

/// The endpoint of a service as its catalog entry describes it (bind address, keys, max_in_flight). Serves
/// `handlers` and, unless they do, wire::Kind::status from the service's health. Its counters are metrics.
/// Stopped first when it `needs` the components behind the handlers: drains, then closes.
expected<component> endpoint_component(service_context& context, handler_map handlers,
                                       std::function<void()> on_drain = {});

/// A client of all replicas of another service in the catalog, with that service's timeouts and budgets and
/// our keys; its counters are metrics.
expected<std::shared_ptr<client>> open_client(service_context& context, std::string_view service);

/// As above for a program that is no service: `own_secret` is the reference of its CURVE secret key
/// (`file:...`, `env:NAME`), used only where the service asks for keys.
expected<std::unique_ptr<client>> open_client(const catalog& from, std::string_view service,
                                              std::string caller, const std::string& own_secret = {});

} // namespace troupe::net
