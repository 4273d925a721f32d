#include "services/trainer/components.hpp"

#include "services/trainer/actors.hpp"

#include "common/net/component.hpp"

namespace troupe::trainer {

namespace {

/// What the components make for those after them.
struct wiring {
  runs_actor runs;
};

expected<component> make_runs(service_context& context, wiring& made) {
  auto settings = context.shared_config<config>();
  auto deps = std::make_shared<run_deps>();
  deps->settings = settings;
  deps->folder = context.data() / "runs";
  deps->worker = settings->worker;
  if (!deps->worker.has_parent_path()) {
    std::error_code problem;
    deps->worker = std::filesystem::read_symlink("/proc/self/exe", problem).parent_path() / settings->worker;
  }
  deps->seen = service_metrics{context.metrics()};
  TROUPE_TRY(journal, run_journal::open(context.data() / "journal"));
  deps->journal = journal;
  if (context.catalog()->find("ingest")) {
    TROUPE_TRY(log, net::open_client(context, "ingest"));
    deps->log = log;
  }
  if (context.catalog()->find("registry")) {
    TROUPE_TRY(registry, net::open_client(context, "registry"));
    deps->registry = registry;
  }
  std::shared_ptr<net::client> store;
  if (context.catalog()->find("feature-store")) {
    TROUPE_TRY(opened, net::open_client(context, "feature-store"));
    store = opened;
  }
  deps->training_sets = std::make_shared<training_sets>(context.data() / "training-sets", store);
  auto threads = std::make_shared<run_threads>();
  TROUPE_TRY(runs, spawn_runs(context.system(), deps, threads));
  made.runs = runs;
  component part{runs};
  part.stop = [threads](deadline) { threads->join(); };
  return part;
}

expected<component> make_endpoint(service_context& context, const runs_actor& runs) {
  net::handler_map handlers;
  for (auto kind : {wire::Kind::train_start, wire::Kind::train_status, wire::Kind::train_cancel})
    handlers[kind] = net::forward_to(runs);
  return net::endpoint_component(context, std::move(handlers));
}

} // namespace

component_list components() {
  auto made = std::make_shared<wiring>();
  return component_list{}
      .add("runs", [made](service_context& context) { return make_runs(context, *made); })
      .add(
          "endpoint", [made](service_context& context) { return make_endpoint(context, made->runs); },
          needs{"runs"});
}

} // namespace troupe::trainer
