#include "services/ranker/components.hpp"

#include "services/ranker/actors.hpp"
#include "services/ranker/ranking/pipeline.hpp"
#include "services/ranker/serving/rank_codec.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/actor/service_context.hpp"
#include "common/core/file.hpp"
#include "common/core/hash.hpp"
#include "common/net/component.hpp"

#include <algorithm>
#include <sstream>

namespace troupe::ranker {

namespace {

/// A tenth of the weight of the threads that answer: on a machine that is busy a release takes longer, not
/// its requests.
constexpr int release_niceness = 10;

/// What components make for those after them, in start order.
struct wiring {
  std::shared_ptr<service_metrics> metrics;
  std::shared_ptr<blocking_pool> pool;
  std::shared_ptr<net::client> features;
  item_space_ptr space = std::make_shared<item_space>();
  std::shared_ptr<published<item_snapshot>> items =
      std::make_shared<published<item_snapshot>>(std::make_shared<const item_snapshot>(space));
  std::shared_ptr<published<release_table>> releases =
      std::make_shared<published<release_table>>(std::make_shared<const release_table>());
  item_sync_actor item_sync;
  release_manager_actor release_manager;
  std::vector<dispatcher_actor> dispatchers;
};

post_function post_to(const std::shared_ptr<blocking_pool>& pool) {
  return [pool](std::function<void()> work) { return pool->post(std::move(work)); };
}

/// The releases of the local folder and those of the list on the disk.
expected<std::vector<std::string>> wanted_at_start(const bundle_fetcher& bundles,
                                                   const std::filesystem::path& file) {
  auto wanted = bundles.local();
  if (!std::filesystem::exists(file))
    return wanted;
  TROUPE_TRY(text, read_file(file));
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);)
    if (!line.empty() && std::find(wanted.begin(), wanted.end(), line) == wanted.end())
      wanted.push_back(line);
  return wanted;
}

expected<component> make_item_sync(service_context& context, wiring& made) {
  TROUPE_TRY(features, net::open_client(context, "feature-store"));
  made.features = features;
  made.metrics = std::make_shared<service_metrics>(context.metrics());
  // A scan takes one thread for a while: another one, so that changes of items never wait.
  made.pool = std::make_shared<blocking_pool>(blocking_pool::options{"ranker-items", 2}, context.metrics());
  context.metrics().on_read([items = made.items, metrics = made.metrics] {
    auto now = items->get();
    metrics->ordinals.set(static_cast<double>(now->space()->limit()));
    if (auto taken = now->taken(); taken != deadline::clock::time_point{})
      metrics->items_age.set(std::chrono::duration<double>(deadline::clock::now() - taken).count());
  });
  item_sync_deps deps;
  deps.settings = context.shared_config<config>();
  deps.items = made.items;
  deps.releases = made.releases;
  deps.metrics = made.metrics;
  deps.features = net::ask_of(features);
  deps.replicas = features->replicas();
  deps.post = post_to(made.pool);
  deps.report = context.report();
  made.item_sync = spawn_item_sync(context.system(), std::move(deps));
  return component{made.item_sync};
}

expected<component> make_release_manager(service_context& context, wiring& made) {
  auto& settings = context.config<config>();
  std::shared_ptr<net::client> registry;
  if (context.catalog()->find("registry")) {
    TROUPE_TRY(opened, net::open_client(context, "registry"));
    registry = opened;
  }
  auto local = settings.release_folder.empty() ? std::filesystem::path{}
                                               : context.catalog()->resolve(settings.release_folder);
  release_manager_deps deps;
  deps.settings = context.shared_config<config>();
  deps.releases = made.releases;
  deps.metrics = made.metrics;
  deps.bundles = std::make_shared<bundle_fetcher>(context.data(), local, registry, settings.fetch_timeout);
  deps.items = made.item_sync;
  deps.snapshot = made.items;
  deps.features = net::ask_of(made.features);
  // A release is read, hashed and indexed behind the answers that are given meanwhile, and freed there. One
  // that is freed waits for who still answers with it: the other thread loads.
  deps.post = post_to(std::make_shared<blocking_pool>(
      blocking_pool::options{.name = "ranker-release", .threads = 2, .niceness = release_niceness},
      context.metrics()));
  deps.wanted_file = context.data() / "wanted";
  TROUPE_TRY(wanted, wanted_at_start(*deps.bundles, deps.wanted_file));
  deps.wanted = std::move(wanted);
  deps.readable = readable_attributes(settings.item_features);
  deps.report = context.report();
  made.release_manager = spawn_release_manager(context.system(), std::move(deps));
  return component{made.release_manager};
}

expected<component> make_dispatchers(service_context& context, wiring& made) {
  auto& settings = context.config<config>();
  auto scoring =
      std::make_shared<scoring_pool>(settings.workers, settings.max_queued, most_together, context.metrics());
  dispatcher_deps deps;
  deps.settings = context.shared_config<config>();
  deps.releases = made.releases;
  deps.items = made.items;
  deps.scoring = scoring;
  deps.metrics = made.metrics;
  deps.features = net::ask_of(made.features);
  deps.replicas = made.features->replicas();
  deps.readable = readable_attributes(settings.item_features);
  made.dispatchers = spawn_dispatchers(context.system(), deps, settings.dispatchers);
  component all{made.dispatchers.front()};
  all.stop = [scoring](deadline) { scoring->stop(); };
  return all;
}

expected<component> make_endpoint(service_context& context, const std::vector<dispatcher_actor>& dispatchers,
                                  const release_manager_actor& releases) {
  std::vector<net::handler> to;
  for (auto& each : dispatchers)
    to.push_back(net::forward_to(each));
  net::handler_map handlers;
  // Nobody in particular: similar needs no features of a user.
  handlers[wire::Kind::similar] = to.front();
  handlers[wire::Kind::rank] = [to = std::move(to)](net::request asked) {
    to[hash64(peek_user(asked.payload)) % to.size()](std::move(asked));
  };
  handlers[wire::Kind::prepare] = net::forward_to(releases);
  handlers[wire::Kind::loaded] = handlers[wire::Kind::prepare];
  return net::endpoint_component(context, std::move(handlers));
}

} // namespace

component_list components() {
  auto made = std::make_shared<wiring>();
  return component_list{}
      .add("items", [made](service_context& context) { return make_item_sync(context, *made); })
      .add(
          "releases", [made](service_context& context) { return make_release_manager(context, *made); },
          needs{"items"})
      .add(
          "dispatcher", [made](service_context& context) { return make_dispatchers(context, *made); },
          needs{"releases"})
      .add(
          "endpoint",
          [made](service_context& context) {
            return make_endpoint(context, made->dispatchers, made->release_manager);
          },
          needs{"dispatcher"});
}

} // namespace troupe::ranker
