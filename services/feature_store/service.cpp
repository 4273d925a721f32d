#include "services/feature_store/service.hpp"

#include "services/feature_store/config.hpp"
#include "services/feature_store/consumer.hpp"
#include "services/feature_store/read_pool.hpp"
#include "services/feature_store/reader.hpp"
#include "services/feature_store/training_jobs.hpp"
#include "services/feature_store/training_wire.hpp"
#include "services/ingest/client/log_stream.hpp"

#include "common/log/log.hpp"
#include "common/net/component.hpp"
#include "common/net/payload.hpp"

#include <algorithm>

namespace troupe::feature_store {

namespace {

chunk views_reply(const state_engine& engine, const consumer_progress& progress) {
  std::vector<std::string> names, versions, toml, state;
  auto next = progress.next();
  for (std::uint32_t v = 0; v < engine.views().size(); ++v) {
    auto& view = engine.views()[v];
    std::uint64_t behind = 0;
    for (std::uint32_t p = 0; p < next.size(); ++p)
      behind += next[p] - std::min(next[p], engine.applied(v, p));
    names.push_back(view.name);
    versions.push_back(view.version);
    toml.push_back(view.canonical());
    state.push_back(behind == 0 ? "up to date" : fmt::format("{} records behind", behind));
  }
  flatbuffers::FlatBufferBuilder out;
  auto a = out.CreateVectorOfStrings(names), b = out.CreateVectorOfStrings(versions),
       c = out.CreateVectorOfStrings(toml), d = out.CreateVectorOfStrings(state);
  out.Finish(wire::CreateViewsReply(out, a, b, c, d), "TRPF");
  return net::bytes_of(out);
}

expected<chunk> state_page(state_engine& engine, const wire::StateQuery& query) {
  bool last = false;
  auto limit = query.limit() == 0 ? 1000u : std::min(query.limit(), 100'000u);
  // Offsets first: the page holds at least them.
  auto applied = engine.applied();
  TROUPE_TRY(page, engine.dump(troupe::text_of(query.after()), limit, last));
  std::vector<std::string> keys, hashes;
  for (auto& each : page) {
    keys.push_back(each.key);
    hashes.push_back(each.sha256);
  }
  std::vector<wire::PartitionOffset> offsets;
  for (std::size_t p = 0; p < applied.size(); ++p)
    offsets.emplace_back(static_cast<std::uint32_t>(p), applied[p]);
  flatbuffers::FlatBufferBuilder out;
  auto a = out.CreateVectorOfStrings(keys), b = out.CreateVectorOfStrings(hashes);
  auto c = out.CreateVectorOfStructs(offsets);
  out.Finish(wire::CreateStatePage(out, a, b, last, c), "TRPF");
  return net::bytes_of(out);
}

/// Where the images have the views that are shipped; a source tree has them beside its services.
constexpr auto shipped_views = "/usr/share/troupe/views";

bool holds_views(const std::filesystem::path& folder) {
  std::error_code problem;
  for (auto& each : std::filesystem::directory_iterator{folder, problem})
    if (each.path().extension() == ".toml")
      return true;
  return false;
}

/// Where the setting says; else what the user has put into the data folder or beside the catalog; else what
/// is shipped.
std::filesystem::path views_folder(const service_context& context) {
  auto& settings = context.config<config>();
  if (!settings.views.empty())
    return context.catalog()->resolve(settings.views);
  for (auto& each : {context.data().parent_path() / "views", context.catalog()->resolve("views"),
                     context.catalog()->resolve("../services/feature_store/views")})
    if (holds_views(each))
      return each;
  return shipped_views;
}

} // namespace

expected<component> spawn_states(service_context& context) {
  auto& settings = context.config<config>();
  auto where = views_folder(context);
  auto views = read_views(where);
  if (!views)
    return fail_while(fmt::format("reading the views of {}", where.string()), std::move(views).error());
  for (auto entity : {entity_kind::user, entity_kind::item})
    views->push_back(record_view(entity));
  engine_options options;
  options.replica = context.replica();
  options.replicas = context.entry().replicas;
  options.cache_bytes = settings.cache_bytes;
  options.block_cache_bytes = settings.block_cache_bytes;
  options.flush_states = settings.flush_states;
  TROUPE_TRY(opened, state_engine::open(context.data() / "state", std::move(*views), options));
  std::shared_ptr<state_engine> engine = std::move(opened);
  log::info("states-opened", "feature store serves {} views of {}", engine->views().size(), where.string());
  auto metrics = std::make_shared<service_metrics>(context.metrics());
  bool wall = settings.clock == "wall";
  auto now = [engine, wall] { return wall ? micros_of(wall_now()) : engine->watermark(); };
  auto pool = std::make_shared<read_pool>(engine, metrics, settings.readers, now);
  context.share("engine", engine);
  context.share("metrics", metrics);
  context.share("pool", pool);
  context.share("progress", std::make_shared<consumer_progress>());
  return component{std::function<void(deadline)>{[pool](deadline) { pool->stop(); }}};
}

expected<component> spawn_log_consumer(service_context& context) {
  TROUPE_TRY(log, net::open_client(context, "ingest"));
  context.share("log", log);
  auto pool = context.shared<read_pool>("pool");
  return component{
      spawn_consumer(context.system(),
                     {context.shared<state_engine>("engine"), log, context.shared<service_metrics>("metrics"),
                      context.shared<consumer_progress>("progress"), context.shared_config<config>(),
                      context.report(), [pool] { pool->advanced(); }})};
}

expected<component> spawn_training(service_context& context) {
  auto& settings = context.config<config>();
  TROUPE_TRY(log, net::open_client(context, "ingest"));
  TROUPE_TRY(opened, kept_training::open(context.data() / "training-sets"));
  std::shared_ptr<kept_training> kept = std::move(opened);
  auto metrics = context.shared<service_metrics>("metrics");
  auto jobs = std::make_shared<training_jobs>(
      context.shared<state_engine>("engine")->views(),
      [log] { return std::make_unique<ingest::log_stream>(log); }, kept, settings.training_memory_bytes,
      metrics->training_rows);
  context.metrics().on_read([kept, metrics] {
    std::uint64_t sets = 0, bytes = 0;
    kept->total(sets, bytes);
    metrics->training_sets.set(static_cast<double>(sets));
    metrics->training_set_bytes.set(static_cast<double>(bytes));
  });
  context.share("kept", kept);
  context.share("training", jobs);
  return component{std::function<void(deadline)>{[jobs](deadline) { jobs->stop(); }}};
}

expected<component> spawn_endpoint(service_context& context) {
  auto engine = context.shared<state_engine>("engine");
  auto pool = context.shared<read_pool>("pool");
  auto progress = context.shared<consumer_progress>("progress");
  auto jobs = context.shared<training_jobs>("training");
  // Everything but reads is rare: it goes behind them.
  auto behind = [pool](std::function<expected<chunk>(const net::request&)> work) -> net::handler {
    return [pool, work = std::move(work)](net::request asked) {
      auto shared = std::make_shared<net::request>(std::move(asked));
      pool->run([shared, work] { shared->respond.finish(work(*shared)); });
    };
  };
  net::handler_map handlers;
  handlers[wire::Kind::read_features] = [pool](net::request asked) { pool->take(std::move(asked)); };
  handlers[wire::Kind::views] = behind(
      [engine, progress](const net::request&) -> expected<chunk> { return views_reply(*engine, *progress); });
  handlers[wire::Kind::dump_state] = behind([engine](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::StateQuery>(asked.payload, "TRPF", "StateQuery"));
    return state_page(*engine, *query);
  });
  handlers[wire::Kind::scan_features] = behind([engine, pool](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::FeatureScan>(asked.payload, "TRPF", "FeatureScan"));
    return answer_scan(*engine, *query, pool->now());
  });
  handlers[wire::Kind::training_start] = behind([jobs](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::TrainingStart>(asked.payload, "TRPF", "TrainingStart"));
    return jobs->start(query->spec()->str(), query->out()->str());
  });
  for (bool cancel : {false, true})
    handlers[cancel ? wire::Kind::training_cancel : wire::Kind::training_status] =
        behind([jobs, cancel](const net::request& asked) -> expected<chunk> {
          TROUPE_TRY(query, net::read_as<wire::TrainingQuery>(asked.payload, "TRPF", "TrainingQuery"));
          return jobs->query(query->training_id()->str(), cancel);
        });
  auto kept = context.shared<kept_training>("kept");
  auto metrics = context.shared<service_metrics>("metrics");
  handlers[wire::Kind::training_read] = behind([kept, metrics](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::TrainingRead>(asked.payload, "TRPF", "TrainingRead"));
    TROUPE_TRY(page, kept->read(query->name()->str(), query->file()->str(), query->offset(),
                                query->max_bytes(), std::string{troupe::text_of(query->content_sha256())}));
    metrics->training_read_bytes.add(static_cast<double>(page.bytes.size()));
    return encode_page(query->offset(), page);
  });
  handlers[wire::Kind::training_list] = behind([kept](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::TrainingList>(asked.payload, "TRPF", "TrainingList"));
    bool last = false;
    auto sets = kept->list(std::string{troupe::text_of(query->after())}, query->limit(), last);
    return encode_list(sets, last);
  });
  handlers[wire::Kind::training_remove] = behind([jobs](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::TrainingRemove>(asked.payload, "TRPF", "TrainingRemove"));
    TROUPE_TRY(gone, jobs->remove(query->name()->str()));
    return encode_kept(gone);
  });
  return net::endpoint_component(context, std::move(handlers), [pool] { pool->drain(); });
}

} // namespace troupe::feature_store
