#include "services/deployer/components.hpp"

#include "services/deployer/actors.hpp"

#include "common/log/log.hpp"
#include "common/net/component.hpp"

namespace troupe::deployer {

namespace {

/// Empty where the catalog does not have the service.
expected<ask_function> asker(service_context& context, std::string_view service,
                             std::uint32_t* replicas = nullptr) {
  if (!context.catalog()->find(service))
    return ask_function{};
  TROUPE_TRY(client, net::open_client(context, service));
  if (replicas != nullptr)
    *replicas = client->replicas();
  return ask_function{[client](std::uint32_t replica, wire::Kind kind, chunk payload, deadline until,
                               net::client::done then) {
    client->call_async_to(replica, kind, std::move(payload), until, std::move(then));
  }};
}

} // namespace

expected<component> make_release_reconciler_component(service_context& context) {
  auto metrics = std::make_shared<service_metrics>(context.metrics());
  context.share("metrics", metrics);
  release_reconciler_deps deps;
  TROUPE_TRY(rankers, asker(context, "ranker", &deps.replicas));
  deps.rankers = std::move(rankers);
  deps.settings = context.shared_config<config>();
  deps.metrics = metrics;
  deps.report = context.report();
  context.share("replicas", std::make_shared<std::uint32_t>(deps.replicas));
  return component{spawn_release_reconciler(context.system(), std::move(deps))};
}

expected<component> make_rollout_controller_component(service_context& context) {
  rollout_controller_deps deps;
  TROUPE_TRY(rollouts, rollout_store::open(context.data() / "state"));
  deps.rollouts = std::move(rollouts);
  TROUPE_TRY(registry, asker(context, "registry"));
  deps.registry = std::move(registry);
  deps.reconciler = context.actor<release_reconciler_actor>("release_reconciler");
  deps.replicas = *context.shared<std::uint32_t>("replicas");
  deps.settings = context.shared_config<config>();
  deps.metrics = context.shared<service_metrics>("metrics");
  deps.report = context.report();
  return component{spawn_rollout_controller(context.system(), std::move(deps), true)};
}

expected<component> make_log_reader_component(service_context& context) {
  TROUPE_TRY(log, asker(context, "ingest"));
  if (!log) {
    log::warn("no-clicks", "the catalog has no ingest: click rates cannot be judged");
    return component{};
  }
  return component{spawn_log_reader(
      context.system(),
      {std::move(log), context.actor<rollout_controller_actor>("rollout_controller"),
       context.shared_config<config>(), context.shared<service_metrics>("metrics"), context.report()})};
}

expected<component> make_endpoint_component(service_context& context) {
  auto controller = context.actor<rollout_controller_actor>("rollout_controller");
  auto to = net::forward_to(controller);
  net::handler_map handlers;
  for (auto kind : {wire::Kind::routing, wire::Kind::rollout_start, wire::Kind::rollout_list,
                    wire::Kind::rollout_show, wire::Kind::rollout_change, wire::Kind::arm_report})
    handlers.emplace(kind, to);
  return net::endpoint_component(
      context, std::move(handlers), [weak = caf::actor_cast<caf::weak_actor_ptr>(controller)] {
        if (auto strong = weak.lock())
          caf::anon_send(caf::actor_cast<rollout_controller_actor>(strong), drain_atom::value);
      });
}

} // namespace troupe::deployer
