#include "services/feature_store/components.hpp"

#include "services/feature_store/config.hpp"
#include "services/feature_store/online/consumer.hpp"
#include "services/feature_store/online/feature_reads.hpp"
#include "services/feature_store/online/read_parker.hpp"
#include "services/feature_store/online/reader.hpp"
#include "services/feature_store/training/training_jobs.hpp"
#include "services/feature_store/training/training_wire.hpp"
#include "services/ingest/client/log_stream.hpp"

#include "common/actor/weak_handle.hpp"
#include "common/log/log.hpp"
#include "common/net/component.hpp"
#include "common/net/payload.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>

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

/// The stop of a component that owns a pool: what is queued is done, the threads are joined.
std::function<void(deadline)> joined(std::shared_ptr<blocking_pool> pool) {
  return [pool = std::move(pool)](deadline) mutable { pool.reset(); };
}

/// What components give to those that start after them, in start order.
struct wiring {
  std::shared_ptr<state_engine> engine;
  std::shared_ptr<service_metrics> metrics;
  std::shared_ptr<consumer_progress> progress = std::make_shared<consumer_progress>();
  feature_reads::clock now; ///< The instant of reads that name none.
  std::shared_ptr<feature_reads> reads;
  std::weak_ptr<blocking_pool> read_pool;
  read_parker_actor parker;
  std::shared_ptr<training_set_repository> training_sets;
  std::shared_ptr<training_jobs> training;
};

/// Opens views and states.
expected<component> make_states(service_context& context, wiring& made) {
  auto& settings = context.config<config>();
  auto where = views_folder(context);
  auto views = read_views(where);
  if (!views)
    return with_context(fmt::format("reading the views of {}", where.string()), std::move(views).error());
  auto defined = views->size();
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
  made.engine = engine;
  log::info("states-opened", "feature store serves {} views of {}", defined, where.string());
  made.metrics = std::make_shared<service_metrics>(context.metrics());
  bool wall = settings.clock == "wall";
  made.now = [engine, wall] { return wall ? micros_of(wall_now()) : engine->watermark(); };
  auto pool = std::make_shared<blocking_pool>(
      blocking_pool::options{"feature-read", settings.readers, settings.waiting_reads}, context.metrics());
  made.read_pool = pool;
  made.reads = std::make_shared<feature_reads>(engine, made.metrics, pool, made.now);
  return component{joined(std::move(pool))};
}

/// Holds reads that name offsets which are not applied yet.
expected<component> make_read_parker(service_context& context, wiring& made) {
  auto reads = made.reads;
  made.parker = spawn_read_parker(context.system(),
                                  {[reads](const net::request& asked) { return reads->reached(asked); },
                                   [reads](net::request_ptr asked) { reads->serve(std::move(asked)); },
                                   made.metrics, context.config<config>().parked_reads});
  reads->park_with([weak = weak_handle{made.parker}](net::request_ptr asked) {
    if (auto to = weak.lock())
      caf::anon_send(to, park_atom::value, std::move(asked));
    else
      asked->respond.fail({ec::stopping, "the feature store is draining"});
  });
  return component{made.parker};
}

/// Follows the log.
expected<component> make_consumer(service_context& context, const wiring& from) {
  TROUPE_TRY(log, net::open_client(context, "ingest"));
  // One thread: what is applied is written in the order of the messages.
  auto pool = std::make_shared<blocking_pool>(blocking_pool::options{"feature-apply", 1}, context.metrics());
  consumer_deps deps;
  deps.engine = from.engine;
  deps.call = [log = std::shared_ptr<net::client>{std::move(log)}](
                  const consumer_actor& to, std::uint64_t tag, wire::Kind kind, chunk payload,
                  deadline until) { net::call_for(*log, to, tag, kind, std::move(payload), until); };
  deps.run = [weak = std::weak_ptr{pool}](std::function<void()> task) -> expected<void> {
    auto alive = weak.lock();
    return alive ? alive->post(std::move(task)) : fail(ec::stopping, "the feature store is draining");
  };
  deps.metrics = from.metrics;
  deps.progress = from.progress;
  deps.settings = context.shared_config<config>();
  deps.report = context.report();
  deps.advanced = [parker = from.parker] { caf::anon_send(parker, advance_atom::value); };
  component consumer{spawn_consumer(context.system(), std::move(deps))};
  consumer.stop = joined(std::move(pool));
  return consumer;
}

/// Builds training sets, one at a time.
expected<component> make_training(service_context& context, wiring& made) {
  auto& settings = context.config<config>();
  TROUPE_TRY(log, net::open_client(context, "ingest"));
  TROUPE_TRY(opened, training_set_repository::open(context.data() / "training-sets"));
  std::shared_ptr<training_set_repository> kept = std::move(opened);
  auto metrics = made.metrics;
  auto jobs = std::make_shared<training_jobs>(
      made.engine->views(), [log] { return std::make_unique<ingest::log_stream>(log); }, kept,
      settings.training_memory_bytes, metrics->training_rows);
  context.metrics().on_read([kept, metrics] {
    std::uint64_t sets = 0, bytes = 0;
    kept->total(sets, bytes);
    metrics->training_sets.set(static_cast<double>(sets));
    metrics->training_set_bytes.set(static_cast<double>(bytes));
  });
  made.training_sets = kept;
  made.training = jobs;
  return component{std::function<void(deadline)>{[jobs](deadline) { jobs->stop(); }}};
}

/// Takes requests.
expected<component> make_endpoint(service_context& context, const wiring& from) {
  auto engine = from.engine;
  auto progress = from.progress;
  auto jobs = from.training;
  // Everything but reads and changes is rare and long: it must not stand before them.
  auto pool = std::make_shared<blocking_pool>(
      blocking_pool::options{"feature-scan", context.config<config>().scanners}, context.metrics());
  auto in_pool = [pool](std::function<expected<chunk>(const net::request&)> work) -> net::handler {
    return [pool, work = std::move(work)](net::request asked) {
      auto shared = std::make_shared<net::request>(std::move(asked));
      if (auto posted = pool->post([shared, work] { shared->respond.finish(work(*shared)); }); !posted)
        shared->respond.fail(std::move(posted).error());
    };
  };
  net::handler_map handlers;
  handlers[wire::Kind::read_features] = [reads = from.reads](net::request asked) {
    reads->serve(std::make_shared<net::request>(std::move(asked)));
  };
  // As small as reads, and waited for as they are.
  handlers[wire::Kind::feature_changes] = [engine, now = from.now,
                                           reads = from.read_pool](net::request asked) {
    auto shared = std::make_shared<net::request>(std::move(asked));
    auto answer = [engine, now, shared]() -> expected<chunk> {
      TROUPE_TRY(query, net::read_as<wire::FeatureChanges>(shared->payload, "TRPF", "FeatureChanges"));
      return answer_changes(*engine, *query, now());
    };
    auto alive = reads.lock();
    expected<void> posted = alive ? alive->post([shared, answer] { shared->respond.finish(answer()); })
                                  : fail(ec::stopping, "the feature store is draining");
    if (!posted)
      shared->respond.fail(std::move(posted).error());
  };
  handlers[wire::Kind::views] = in_pool(
      [engine, progress](const net::request&) -> expected<chunk> { return views_reply(*engine, *progress); });
  handlers[wire::Kind::dump_state] = in_pool([engine](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::StateQuery>(asked.payload, "TRPF", "StateQuery"));
    return state_page(*engine, *query);
  });
  handlers[wire::Kind::scan_features] =
      in_pool([engine, now = from.now](const net::request& asked) -> expected<chunk> {
        TROUPE_TRY(query, net::read_as<wire::FeatureScan>(asked.payload, "TRPF", "FeatureScan"));
        return answer_scan(*engine, *query, now());
      });
  handlers[wire::Kind::training_start] = in_pool([jobs](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::TrainingStart>(asked.payload, "TRPF", "TrainingStart"));
    return jobs->start(query->spec()->str(), query->out()->str());
  });
  for (bool cancel : {false, true})
    handlers[cancel ? wire::Kind::training_cancel : wire::Kind::training_status] =
        in_pool([jobs, cancel](const net::request& asked) -> expected<chunk> {
          TROUPE_TRY(query, net::read_as<wire::TrainingQuery>(asked.payload, "TRPF", "TrainingQuery"));
          return jobs->query(query->training_id()->str(), cancel);
        });
  auto kept = from.training_sets;
  auto metrics = from.metrics;
  handlers[wire::Kind::training_read] = in_pool([kept,
                                                 metrics](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::TrainingRead>(asked.payload, "TRPF", "TrainingRead"));
    TROUPE_TRY(page, kept->read(query->name()->str(), query->file()->str(), query->offset(),
                                query->max_bytes(), std::string{troupe::text_of(query->content_sha256())}));
    metrics->training_read_bytes.add(static_cast<double>(page.bytes.size()));
    return encode_page(query->offset(), page);
  });
  handlers[wire::Kind::training_list] = in_pool([kept](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::TrainingList>(asked.payload, "TRPF", "TrainingList"));
    bool last = false;
    auto sets = kept->list(std::string{troupe::text_of(query->after())}, query->limit(), last);
    return encode_list(sets, last);
  });
  handlers[wire::Kind::training_remove] = in_pool([jobs](const net::request& asked) -> expected<chunk> {
    TROUPE_TRY(query, net::read_as<wire::TrainingRemove>(asked.payload, "TRPF", "TrainingRemove"));
    TROUPE_TRY(gone, jobs->remove(query->name()->str()));
    return encode_kept(gone);
  });
  return net::endpoint_component(context, std::move(handlers),
                                 [parker = from.parker] { caf::anon_send(parker, drain_atom::value); });
}

} // namespace

component_list components() {
  auto made = std::make_shared<wiring>();
  return component_list{}
      .add("states", [made](service_context& context) { return make_states(context, *made); })
      .add(
          "read_parker", [made](service_context& context) { return make_read_parker(context, *made); },
          needs{"states"})
      .add(
          "consumer", [made](service_context& context) { return make_consumer(context, *made); },
          needs{"read_parker"})
      .add(
          "training", [made](service_context& context) { return make_training(context, *made); },
          needs{"states"})
      .add(
          "endpoint", [made](service_context& context) { return make_endpoint(context, *made); },
          needs{"consumer", "training"});
}

} // namespace troupe::feature_store
