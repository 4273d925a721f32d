#include "services/deployer/components.hpp"

#include "services/deployer/actors.hpp"

#include "common/actor/weak_handle.hpp"
#include "common/log/log.hpp"
#include "common/net/component.hpp"

namespace troupe::deployer {

namespace {

/// What the components make for those after them, in start order.
struct wiring {
  std::shared_ptr<service_metrics> metrics;
  std::uint32_t rankers = 0; ///< Replicas; 0 where the catalog has no ranker.
  release_reconciler_actor reconciler;
  rollout_controller_actor controller;
};

/// Empty where the catalog does not have the service.
expected<net::ask_function> asker(service_context& context, std::string_view service,
                                  std::uint32_t* replicas = nullptr) {
  if (!context.catalog()->find(service))
    return net::ask_function{};
  TROUPE_TRY(client, net::open_client(context, service));
  if (replicas != nullptr)
    *replicas = client->replicas();
  return net::ask_of(client);
}

expected<component> make_release_reconciler(service_context& context, wiring& made) {
  made.metrics = std::make_shared<service_metrics>(context.metrics());
  release_reconciler_deps deps;
  TROUPE_TRY(rankers, asker(context, "ranker", &deps.replicas));
  deps.rankers = std::move(rankers);
  deps.settings = context.shared_config<config>();
  deps.metrics = made.metrics;
  deps.report = context.report();
  made.rankers = deps.replicas;
  made.reconciler = spawn_release_reconciler(context.system(), std::move(deps));
  return component{made.reconciler};
}

expected<component> make_rollout_controller(service_context& context, wiring& made) {
  rollout_controller_deps deps;
  TROUPE_TRY(rollouts, rollout_store::open(context.data() / "state"));
  deps.rollouts = std::move(rollouts);
  TROUPE_TRY(registry, asker(context, "registry"));
  deps.registry = std::move(registry);
  deps.reconciler = made.reconciler;
  deps.replicas = made.rankers;
  deps.settings = context.shared_config<config>();
  deps.metrics = made.metrics;
  deps.report = context.report();
  made.controller = spawn_rollout_controller(context.system(), std::move(deps), true);
  return component{made.controller};
}

expected<component> make_log_reader(service_context& context, const wiring& made) {
  TROUPE_TRY(log, asker(context, "ingest"));
  if (!log) {
    log::warn("no-clicks", "the catalog has no ingest: click rates cannot be judged");
    return component{};
  }
  return component{
      spawn_log_reader(context.system(), {std::move(log), made.controller, context.shared_config<config>(),
                                          made.metrics, context.report()})};
}

expected<component> make_endpoint(service_context& context, const rollout_controller_actor& controller) {
  auto to = net::forward_to(controller);
  net::handler_map handlers;
  for (auto kind : {wire::Kind::routing, wire::Kind::rollout_start, wire::Kind::rollout_list,
                    wire::Kind::rollout_show, wire::Kind::rollout_change, wire::Kind::arm_report})
    handlers.emplace(kind, to);
  return net::endpoint_component(context, std::move(handlers), [weak = weak_handle{controller}] {
    if (auto strong = weak.lock())
      caf::anon_send(strong, drain_atom::value);
  });
}

} // namespace

component_list components() {
  auto made = std::make_shared<wiring>();
  return component_list{}
      .add("release_reconciler",
           [made](service_context& context) { return make_release_reconciler(context, *made); })
      .add(
          "rollout_controller",
          [made](service_context& context) { return make_rollout_controller(context, *made); },
          needs{"release_reconciler"})
      .add(
          "log_reader", [made](service_context& context) { return make_log_reader(context, *made); },
          needs{"rollout_controller"})
      .add(
          "endpoint", [made](service_context& context) { return make_endpoint(context, made->controller); },
          needs{"rollout_controller"});
}

} // namespace troupe::deployer
