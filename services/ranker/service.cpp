#include "services/ranker/service.hpp"

#include "services/feature_store/client/feature_client.hpp"
#include "services/ranker/bundle_store.hpp"
#include "services/ranker/catalogue_keeper.hpp"
#include "services/ranker/config.hpp"
#include "services/ranker/desk.hpp"

#include "common/core/hash.hpp"
#include "common/log/log.hpp"
#include "common/net/component.hpp"
#include "common/net/payload.hpp"

#include "schemas/ranker_generated.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

namespace troupe::ranker {

namespace {

chunk releases_reply(const release_shelf& shelf) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::LoadedRelease>> all;
  for (auto& each : shelf.entries())
    all.push_back(wire::CreateLoadedReleaseDirect(
        out, each.id.c_str(), each.state.c_str(), each.error.c_str(), each.items, each.bytes,
        static_cast<std::uint64_t>(each.load_time.count()), each.in_use));
  out.Finish(wire::CreateLoadedReleasesDirect(out, &all), "TRPK");
  return net::bytes_of(out);
}

void write_wanted(const std::filesystem::path& file, const std::vector<std::string>& ids) {
  auto fresh = file;
  fresh += ".new";
  {
    std::ofstream out{fresh, std::ios::trunc};
    for (auto& each : ids)
      out << each << '\n';
  }
  std::error_code problem;
  std::filesystem::rename(fresh, file, problem);
  if (problem)
    log::warn("wanted-kept", "ranker cannot write {}: {}", file.string(), problem.message());
}

std::string value_text(const feature_store::feature_column& column) {
  if (column.status[0] != wire::FeatureStatus::present)
    return {};
  if (!column.numbers.empty())
    return fmt::format("{}", column.numbers[0]);
  if (!column.texts.empty())
    return column.texts[0];
  if (column.lists.empty())
    return {};
  auto& list = column.lists[0];
  std::string out;
  auto first = list.size() > 10 ? list.size() - 10 : 0;
  if (first > 0)
    out = fmt::format("({} more) ", first);
  for (std::size_t i = first; i < list.size(); ++i)
    out += (i > first ? ", " : "") + list[i];
  return out;
}

expected<user_state> user_of(const expected<net::reply>& got) {
  if (!got)
    return unexpected<error>{got.error()};
  TROUPE_TRY(answer, feature_store::decode_features(got->payload, 1));
  user_state out;
  for (std::size_t c = 0; c < answer.columns.size(); ++c) {
    auto& column = answer.columns[c];
    out.features.push_back(
        {column.name, static_cast<std::uint8_t>(column.status[0]), column.age_us[0], value_text(column)});
    if (column.status[0] == wire::FeatureStatus::present) {
      if (!column.texts.empty())
        out.values.push_back({column.name, column.texts[0]});
      else if (!column.lists.empty())
        out.values.push_back({column.name, column.lists[0]});
      else if (!column.numbers.empty())
        out.values.push_back({column.name, column.numbers[0]});
    }
    if (c == 0 && !column.lists.empty())
      out.history = column.lists[0];
  }
  out.views = std::move(answer.view_versions);
  out.deleted = answer.deleted[0] != 0;
  return out;
}

/// What models of a release want is in the feature store. One that cannot be asked now is no reason to
/// refuse: answers say what they lack.
expected<void> check_features(const release& with, net::client& features, catalogue_keeper& keeper,
                              const config& settings) {
  auto usable = [&](const error& problem) -> expected<void> {
    if (remedy_of(problem.code) != remedy::retry_later)
      return fail_while("asking for the features of its models", error{problem});
    log::warn("features-unchecked", "ranker cannot check the features of release {}: {}",
              with.manifest.id.substr(0, 12), render(problem));
    return {};
  };
  if (with.user_features.size() > 1) {
    feature_store::feature_query query;
    query.ids = {"warm-up"};
    query.features = with.user_features;
    auto got = features.call_to(0, wire::Kind::read_features, feature_store::encode(query),
                                deadline::in(settings.page_timeout));
    if (!got)
      TROUPE_CHECK(usable(got.error()));
  }
  if (!with.item_features.empty())
    if (auto brought = keeper.bring(with.item_features, deadline::in(2 * settings.page_timeout)); !brought)
      TROUPE_CHECK(usable(brought.error()));
  return {};
}

} // namespace

expected<component> spawn_shelf(service_context& context) {
  auto& settings = context.config<config>();
  std::shared_ptr<net::client> registry;
  if (context.catalog()->find("registry")) {
    TROUPE_TRY(opened, net::open_client(context, "registry"));
    registry = opened;
  }
  auto metrics = context.shared<service_metrics>("metrics");
  auto features = context.shared<net::client>("features");
  auto keeper = context.shared<catalogue_keeper>("catalogue");
  auto local = settings.release_folder.empty() ? std::filesystem::path{}
                                               : context.catalog()->resolve(settings.release_folder);
  auto store = std::make_shared<bundle_store>(context.data(), local, registry, settings.fetch_timeout);
  auto report = context.report();
  auto held = std::make_shared<std::weak_ptr<release_shelf>>();
  auto shelf = std::make_shared<release_shelf>(
      [store](const std::string& id) { return store->fetch(id); }, load_options{settings.flat_up_to},
      settings.load_retry,
      [metrics, report, store, held](const std::string& id, const error* failed) {
        if (failed) {
          if (failed->code == ec::corrupt)
            store->forget(id);
          metrics->load_failures.add();
          log::warn("release-refused", "ranker cannot serve release {}: {}", id.substr(0, 12),
                    render(*failed));
          report.failed(*failed);
        } else {
          metrics->loads.add();
          log::info("release-ready", "ranker serves release {}", id.substr(0, 12));
          if (auto all = held->lock()) {
            std::vector<std::string> needed;
            for (auto& each : all->entries())
              needed.push_back(each.id);
            store->keep_only(needed);
          }
        }
      },
      [features, keeper, settings = context.shared_config<config>()](const release& with) {
        return check_features(with, *features, *keeper, *settings);
      });
  *held = shelf;
  keeper->follow([held] {
    auto all = held->lock();
    return all ? all->item_features() : std::vector<std::string>{};
  });
  context.metrics().on_read([shelf, metrics] {
    auto all = shelf->entries();
    metrics->releases.set(static_cast<double>(
        std::count_if(all.begin(), all.end(), [](auto& each) { return each.state == "ready"; })));
  });
  auto wanted = store->local();
  std::ifstream before{context.data() / "wanted"};
  for (std::string line; std::getline(before, line);)
    if (!line.empty() && std::find(wanted.begin(), wanted.end(), line) == wanted.end())
      wanted.push_back(line);
  if (!wanted.empty()) {
    shelf->prepare(wanted);
    // On the main thread and before anything serves: waiting is what a start is for. A release whose registry
    // is not there does not hold the others up.
    auto until = deadline::in(std::chrono::seconds{60});
    auto open = [&] {
      auto all = shelf->entries();
      return std::any_of(all.begin(), all.end(),
                         [](auto& each) { return each.state == "loading" || each.state == "warming"; });
    };
    while (open() && !until.passed())
      std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
  context.share("shelf", shelf);
  return component{std::function<void(deadline)>{[shelf](deadline) { shelf->stop(); }}};
}

expected<component> spawn_catalogue(service_context& context) {
  TROUPE_TRY(features, net::open_client(context, "feature-store"));
  auto metrics = std::make_shared<service_metrics>(context.metrics());
  auto keeper = std::make_shared<catalogue_keeper>(features, context.shared_config<config>(), metrics,
                                                   context.report());
  context.share("metrics", metrics);
  context.share("features", features);
  context.share("catalogue", keeper);
  return component{std::function<void(deadline)>{[keeper](deadline) { keeper->stop(); }}};
}

expected<component> spawn_desk(service_context& context) {
  auto features = context.shared<net::client>("features");
  auto keeper = context.shared<catalogue_keeper>("catalogue");
  auto read = [features](desk::feature_read asked, std::function<void(expected<user_state>)> then) {
    feature_store::feature_query query;
    query.ids = {asked.user};
    query.features = std::move(asked.features);
    for (auto& [partition, offset] : asked.min_offsets)
      query.min_offsets.emplace_back(partition, offset);
    features->call_async_to(rendezvous(asked.user, features->replicas()), wire::Kind::read_features,
                            feature_store::encode(query), asked.until,
                            [then = std::move(then)](expected<net::reply> got) { then(user_of(got)); });
  };
  auto made = std::make_shared<desk>(
      context.shared_config<config>(), context.shared<release_shelf>("shelf"),
      [keeper] { return keeper->current(); }, std::move(read), context.shared<service_metrics>("metrics"));
  made->start();
  context.share("desk", made);
  return component{std::function<void(deadline)>{[made](deadline) { made->stop(); }}};
}

expected<component> spawn_endpoint(service_context& context) {
  auto to = context.shared<desk>("desk");
  auto shelf = context.shared<release_shelf>("shelf");
  auto file = context.data() / "wanted";
  net::handler_map handlers;
  handlers[wire::Kind::rank] = [to](net::request asked) { to->take(std::move(asked)); };
  handlers[wire::Kind::similar] = handlers[wire::Kind::rank];
  // Rare and short: a list of a few names, and a file of as many lines.
  handlers[wire::Kind::prepare] = [shelf, file](net::request asked) {
    auto from = net::read_as<wire::Prepare>(asked.payload, "TRPK", "Prepare");
    if (!from)
      return asked.respond.fail(std::move(from).error());
    std::vector<std::string> ids;
    if (auto* list = (*from)->releases())
      for (auto* each : *list)
        ids.push_back(each->str());
    shelf->prepare(ids);
    write_wanted(file, ids);
    asked.respond.reply(releases_reply(*shelf));
  };
  handlers[wire::Kind::loaded] = [shelf](net::request asked) { asked.respond.reply(releases_reply(*shelf)); };
  return net::endpoint_component(context, std::move(handlers));
}

} // namespace troupe::ranker
