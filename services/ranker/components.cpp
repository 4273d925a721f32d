#include "services/ranker/components.hpp"

#include "services/ranker/actors.hpp"
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

/// What the components share.
struct shared_parts {
  explicit shared_parts(service_context& context)
      : metrics{std::make_shared<service_metrics>(context.metrics())},
        // One thread for releases, one for pages of items and the list on the disk.
        pool{std::make_shared<blocking_pool>(blocking_pool::options{"ranker-load", 2}, context.metrics())},
        readable{readable_attributes(context.config<config>().item_features)} {}

  std::shared_ptr<service_metrics> metrics;
  std::shared_ptr<blocking_pool> pool;
  std::shared_ptr<net::client> features;
  std::shared_ptr<published<item_snapshot>> items =
      std::make_shared<published<item_snapshot>>(std::make_shared<const item_snapshot>());
  std::shared_ptr<published<release_table>> releases =
      std::make_shared<published<release_table>>(std::make_shared<const release_table>());
  std::vector<std::string> readable;
  std::vector<dispatcher_actor> dispatchers;

  post_function post() const {
    return [pool = pool](std::function<void()> work) { return pool->post(std::move(work)); };
  }
  net::ask_function ask_features() const {
    return [client = features](std::uint32_t replica, wire::Kind kind, chunk payload, deadline until,
                               net::client::done then) {
      client->call_async_to(replica, kind, std::move(payload), until, std::move(then));
    };
  }
};

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

} // namespace

expected<component> make_item_sync_component(service_context& context) {
  auto shared = std::make_shared<shared_parts>(context);
  TROUPE_TRY(features, net::open_client(context, "feature-store"));
  shared->features = features;
  context.share("parts", shared);
  item_sync_deps deps;
  deps.settings = context.shared_config<config>();
  deps.items = shared->items;
  deps.releases = shared->releases;
  deps.metrics = shared->metrics;
  deps.features = shared->ask_features();
  deps.replicas = features->replicas();
  deps.post = shared->post();
  deps.report = context.report();
  return component{spawn_item_sync(context.system(), std::move(deps))};
}

expected<component> make_release_manager_component(service_context& context) {
  auto shared = context.shared<shared_parts>("parts");
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
  deps.releases = shared->releases;
  deps.metrics = shared->metrics;
  deps.bundles = std::make_shared<bundle_fetcher>(context.data(), local, registry, settings.fetch_timeout);
  deps.items = context.actor<item_sync_actor>("items");
  deps.features = shared->ask_features();
  deps.post = shared->post();
  deps.wanted_file = context.data() / "wanted";
  TROUPE_TRY(wanted, wanted_at_start(*deps.bundles, deps.wanted_file));
  deps.wanted = std::move(wanted);
  deps.readable = shared->readable;
  deps.report = context.report();
  return component{spawn_release_manager(context.system(), std::move(deps))};
}

expected<component> make_dispatcher_component(service_context& context) {
  auto shared = context.shared<shared_parts>("parts");
  auto& settings = context.config<config>();
  auto scoring = std::make_shared<scoring_pool>(settings.workers, settings.max_queued, context.metrics());
  dispatcher_deps deps;
  deps.settings = context.shared_config<config>();
  deps.releases = shared->releases;
  deps.items = shared->items;
  deps.scoring = scoring;
  deps.metrics = shared->metrics;
  deps.features = shared->ask_features();
  deps.replicas = shared->features->replicas();
  deps.readable = shared->readable;
  shared->dispatchers = spawn_dispatchers(context.system(), deps, settings.dispatchers);
  component made{shared->dispatchers.front()};
  made.stop = [scoring, shared](deadline) {
    shared->dispatchers.clear();
    scoring->stop();
  };
  return made;
}

expected<component> make_endpoint_component(service_context& context) {
  auto shared = context.shared<shared_parts>("parts");
  std::vector<net::handler> dispatchers;
  for (auto& each : shared->dispatchers)
    dispatchers.push_back(net::forward_to(each));
  net::handler_map handlers;
  handlers[wire::Kind::rank] = [dispatchers](net::request asked) {
    auto user = peek_user(asked.payload);
    dispatchers[hash64(as_bytes(user)) % dispatchers.size()](std::move(asked));
  };
  // Nobody in particular: they need no features.
  handlers[wire::Kind::similar] = dispatchers.front();
  handlers[wire::Kind::prepare] = net::forward_to(context.actor<release_manager_actor>("releases"));
  handlers[wire::Kind::loaded] = handlers[wire::Kind::prepare];
  return net::endpoint_component(context, std::move(handlers));
}

} // namespace troupe::ranker
