#include "services/registry/components.hpp"

#include "services/registry/actors.hpp"
#include "services/registry/config.hpp"

#include "common/net/component.hpp"

namespace troupe::registry {

namespace {

/// What the components make for those after them.
struct wiring {
  registry_actor registry;
};

expected<component> make_registry(service_context& context, wiring& made) {
  auto& settings = context.config<config>();
  auto gate_file = settings.gate.empty() ? context.data().parent_path() / "gate.toml"
                                         : std::filesystem::path{settings.gate};
  TROUPE_TRY(opened, service::open(context.data(), std::move(gate_file), settings.max_blob_bytes,
                                   service_metrics{context.metrics()}));
  made.registry = spawn_registry(context.system(), std::move(opened), true);
  return component{made.registry};
}

expected<component> make_endpoint(service_context& context, const registry_actor& registry) {
  auto to = net::forward_to(registry);
  net::handler_map handlers;
  for (auto kind :
       {wire::Kind::run_create, wire::Kind::run_update, wire::Kind::run_list, wire::Kind::run_show,
        wire::Kind::metric_read, wire::Kind::blob_put, wire::Kind::blob_get, wire::Kind::model_register,
        wire::Kind::model_list, wire::Kind::model_show, wire::Kind::model_change,
        wire::Kind::release_register, wire::Kind::release_list, wire::Kind::release_show})
    handlers.emplace(kind, to);
  return net::endpoint_component(context, std::move(handlers));
}

} // namespace

component_list components() {
  auto made = std::make_shared<wiring>();
  return component_list{}
      .add("registry", [made](service_context& context) { return make_registry(context, *made); })
      .add(
          "endpoint", [made](service_context& context) { return make_endpoint(context, made->registry); },
          needs{"registry"});
}

} // namespace troupe::registry
