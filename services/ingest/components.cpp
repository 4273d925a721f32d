#include "services/ingest/components.hpp"

#include "services/ingest/config.hpp"
#include "services/ingest/fetch_desk.hpp"
#include "services/ingest/import_supervisor.hpp"
#include "services/ingest/meter.hpp"
#include "services/ingest/request_desk.hpp"

#include "common/net/actors.hpp"
#include "common/net/component.hpp"

namespace troupe::ingest {

namespace {

/// What the components of this service share. Members end in reverse order: threads before what they work on.
struct resources {
  std::shared_ptr<event_log> log;
  std::shared_ptr<lake> into;
  judge_function judge;
  std::shared_ptr<upload_desk> uploads;
  std::shared_ptr<worker_pool> servers;
  std::shared_ptr<worker_pool> readers;
  std::shared_ptr<worker_pool> slow;
  std::shared_ptr<request_desk> desk;
  std::unique_ptr<meter> figures;
};

} // namespace

expected<component> log_component(service_context& context) {
  auto& settings = context.config<config>();
  log_options how;
  how.partitions = settings.partitions;
  how.allowed_lateness = settings.allowed_lateness;
  how.cache_bytes = settings.cache_bytes;
  how.write_buffer_bytes = settings.write_buffer_bytes;
  how.queue_bytes = settings.queue_bytes;
  auto all = std::make_shared<resources>();
  TROUPE_TRY(log, event_log::open(context.data() / "log", how));
  all->log = std::move(log);
  auto folder = settings.lake.empty() ? context.data() / "lake" : context.catalog()->resolve(settings.lake);
  all->into = std::make_shared<lake>(all->log, folder, settings.segment_records);
  if (settings.judge == "validator") {
    TROUPE_TRY(validator, net::open_client(context, "validator"));
    all->judge = judge_by_validator(validator, settings.judge_timeout);
  } else {
    all->judge = judge_nothing();
  }
  TROUPE_TRY(uploads,
             upload_store::open({context.data() / "uploads", settings.upload_bytes, settings.upload_keep}));
  all->uploads = std::make_shared<upload_desk>(all->log, std::move(uploads));
  context.metrics().on_read(
      [weak = std::weak_ptr{all->uploads},
       gauge = context.metrics().gauge("troupe_ingest_upload_bytes",
                                       "Files sent to be imported that are still here.")]() mutable {
        if (auto held = weak.lock())
          gauge.set(static_cast<double>(held->store().bytes()));
      });
  all->servers = std::make_shared<worker_pool>(settings.servers);
  all->readers = std::make_shared<worker_pool>(settings.readers);
  all->slow = std::make_shared<worker_pool>(1);
  all->desk =
      std::make_shared<request_desk>(all->log, all->into, all->judge, all->uploads, all->servers, all->slow);
  all->figures = std::make_unique<meter>(all->log, all->into, all->slow, context.metrics(), context.report());
  context.share("resources", all);
  return component{std::function<void(deadline)>{[all](deadline) { all->figures.reset(); }}};
}

expected<component> imports_component(service_context& context) {
  auto all = context.shared<resources>("resources");
  TROUPE_TRY(known, load_imports(*all->log));
  return component{spawn_import_supervisor(context.system(),
                                           {all->log, all->readers, all->servers, all->judge, all->uploads,
                                            context.shared_config<config>(), context.report()},
                                           std::move(known))};
}

expected<component> fetch_component(service_context& context) {
  auto all = context.shared<resources>("resources");
  return component{spawn_fetch_desk(context.system(), all->log, all->servers)};
}

expected<component> endpoint_component(service_context& context) {
  auto all = context.shared<resources>("resources");
  auto desk = all->desk;
  auto uploads = all->uploads;
  auto imports = net::forward_to(context.actor<import_supervisor_actor>("imports"));
  auto fetch = context.actor<fetch_desk_actor>("fetch");
  net::handler_map handlers;
  handlers[wire::Kind::import_start] = imports;
  handlers[wire::Kind::import_status] = imports;
  handlers[wire::Kind::import_cancel] = imports;
  handlers[wire::Kind::fetch] = net::forward_to(fetch);
  handlers[wire::Kind::append] = [desk](net::request request) { desk->append(std::move(request)); };
  handlers[wire::Kind::log_info] = [desk](net::request request) { desk->log_info(std::move(request)); };
  handlers[wire::Kind::quarantine_list] = [desk](net::request request) {
    desk->quarantine_list(std::move(request));
  };
  handlers[wire::Kind::quarantine_replay] = [desk](net::request request) {
    desk->quarantine_replay(std::move(request));
  };
  handlers[wire::Kind::lake_seal] = [desk](net::request request) { desk->lake_seal(std::move(request)); };
  handlers[wire::Kind::upload_put] = [uploads](net::request request) { uploads->put(std::move(request)); };
  return net::endpoint_component(
      context, std::move(handlers), [weak = caf::actor_cast<caf::weak_actor_ptr>(fetch)] {
        if (auto strong = weak.lock())
          caf::anon_send(caf::actor_cast<fetch_desk_actor>(strong), drain_atom::value);
      });
}

} // namespace troupe::ingest
