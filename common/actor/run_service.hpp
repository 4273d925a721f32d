#pragma once

#include "common/actor/component_list.hpp"
#include "common/actor/resources.hpp"
#include "common/actor/service_context.hpp"
#include "common/config/keys.hpp"

#include <functional>
#include <memory>
#include <string>

namespace caf {
class actor_system;
} // namespace caf

namespace troupe {

/// Gives the components of a service: closures over one struct of its own, whose members, by type, are what
/// the earlier ones make for the later ones. The struct goes with the list, when every component has stopped.
using list_components = std::function<component_list()>;

namespace detail {

/// What run_service needs from the configuration struct, without its type.
struct service_config {
  std::function<void(config_keys&)> bind;
  std::function<expected<void>()> validate;
  std::function<resource_bounds()> holds;
  std::function<service_context(service_context::parts)> make_context;
};

int run_service(const std::string& name, int argc, char** argv, const list_components& components,
                const service_config& config);

} // namespace detail

/// The whole life of a service process: reads flags, the catalog and the service's settings
/// (`[<service>.settings]` of the catalog, then `--config FILE`, then `--set key=value`), prints the
/// configuration in effect, starts the components by need, says "ready" when every one is, waits for SIGTERM
/// or SIGINT, stops them in reverse within the drain budget.
///
/// The process takes as many file descriptors as its hard limit allows, is not ready while there are none
/// left, and says at the start what its settings may hold (`C::holds()`, where there is one) and its
/// container does not give it. What it makes is for its user alone: the state of a service holds what people
/// did.
///
/// Gives the exit code: 0 after a clean stop, else one of exit_codes.hpp.
///
/// Flags: --catalog FILE --data DIR --replica N --config FILE --set key=value --admin-port N --ready-fd N
/// --check --probe --help. Every service also has the keys `threads` and `log.level`.
template <configuration C>
int run_service(const std::string& name, int argc, char** argv, const list_components& components) {
  auto config = std::make_shared<C>();
  return detail::run_service(name, argc, argv, components,
                             {[config](config_keys& keys) { config->bind(keys); },
                              [config]() -> expected<void> {
                                if constexpr (requires { config->validate(); })
                                  return config->validate();
                                return {};
                              },
                              [config]() -> resource_bounds {
                                if constexpr (has_resource_bounds<C>)
                                  return config->holds();
                                return {};
                              },
                              [config](service_context::parts parts) {
                                return service_context{std::move(parts), std::shared_ptr<const C>{config}};
                              }});
}

} // namespace troupe
