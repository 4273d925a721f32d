#include "services/registry/components.hpp"

#include "services/registry/actors.hpp"
#include "services/registry/config.hpp"

#include "common/net/component.hpp"

namespace troupe::registry {

expected<component> make_registry_component(service_context& context) {
  auto& settings = context.config<config>();
  auto gate_file = settings.gate.empty() ? context.data().parent_path() / "gate.toml"
                                         : std::filesystem::path{settings.gate};
  TROUPE_TRY(made, service::open(context.data(), std::move(gate_file), settings.max_blob_bytes,
                                 service_metrics{context.metrics()}));
  return component{spawn_registry(context.system(), std::move(made), true)};
}

expected<component> make_endpoint_component(service_context& context) {
  auto to = net::forward_to(context.actor<registry_actor>("registry"));
  net::handler_map handlers;
  for (auto kind :
       {wire::Kind::run_create, wire::Kind::run_update, wire::Kind::run_list, wire::Kind::run_show,
        wire::Kind::metric_read, wire::Kind::blob_put, wire::Kind::blob_get, wire::Kind::model_register,
        wire::Kind::model_list, wire::Kind::model_show, wire::Kind::model_change,
        wire::Kind::release_register, wire::Kind::release_list, wire::Kind::release_show})
    handlers.emplace(kind, to);
  return net::endpoint_component(context, std::move(handlers));
}

} // namespace troupe::registry
