#include "services/ingest/components.hpp"

#include "services/ingest/config.hpp"
#include "services/ingest/fetch_server.hpp"
#include "services/ingest/import_supervisor.hpp"
#include "services/ingest/lake_sealer.hpp"
#include "services/ingest/log_metrics.hpp"
#include "services/ingest/request_handler.hpp"

#include "common/actor/weak_handle.hpp"
#include "common/net/actors.hpp"
#include "common/net/component.hpp"

namespace troupe::ingest {

namespace {

/// What components make for one another, in start order; the pools end before what their tasks work on.
struct wiring {
  std::shared_ptr<event_log> log;
  std::shared_ptr<lake> into;
  validate_function validate;
  std::shared_ptr<upload_handler> uploads;
  std::shared_ptr<request_handler> requests;
  std::unique_ptr<blocking_pool> servers;
  std::unique_ptr<blocking_pool> readers;
  std::unique_ptr<blocking_pool> lake_readers;
  std::unique_ptr<blocking_pool> slow;
  import_supervisor_actor imports;
  fetch_server_actor fetch;
};

expected<void> open_log(service_context& context, wiring& made) {
  auto& settings = context.config<config>();
  log_options options;
  options.partitions = settings.partitions;
  options.allowed_lateness = settings.allowed_lateness;
  options.dedup.keep_for = settings.dedup_for;
  options.cache_bytes = settings.cache_bytes;
  options.write_buffer_bytes = settings.write_buffer_bytes;
  options.queue_bytes = settings.queue_bytes;
  TROUPE_TRY(log, event_log::open(context.data() / "log", options));
  made.log = std::move(log);
  auto folder = settings.lake.empty() ? context.data() / "lake" : context.catalog()->resolve(settings.lake);
  made.into = std::make_shared<lake>(made.log, folder, settings.segment_records);
  return {};
}

expected<validate_function> open_validation(service_context& context) {
  auto& settings = context.config<config>();
  if (settings.validation != "validator")
    return validate_alone();
  TROUPE_TRY(validator, net::open_client(context, "validator"));
  return validate_by_service(validator, settings.validation_timeout);
}

expected<std::shared_ptr<upload_handler>> open_uploads(service_context& context,
                                                       const std::shared_ptr<event_log>& log) {
  auto& settings = context.config<config>();
  auto& registry = context.metrics();
  TROUPE_TRY(store,
             upload_store::open({context.data() / "uploads", settings.upload_bytes, settings.upload_keep}));
  auto uploads = std::make_shared<upload_handler>(log, std::move(store), registry);
  registry.on_read([weak = std::weak_ptr{uploads},
                    gauge = registry.gauge("troupe_ingest_upload_bytes",
                                           "Files sent to be imported that are still here.")]() mutable {
    if (auto held = weak.lock())
      gauge.set(static_cast<double>(held->store().bytes()));
  });
  return uploads;
}

/// Opens the log, the lake and the pools.
expected<component> make_log_component(service_context& context, wiring& made) {
  auto& settings = context.config<config>();
  TROUPE_CHECK(open_log(context, made));
  TROUPE_TRY(validate, open_validation(context));
  made.validate = std::move(validate);
  TROUPE_TRY(uploads, open_uploads(context, made.log));
  made.uploads = std::move(uploads);
  auto pool = [&](const char* name, std::size_t threads) {
    return std::make_unique<blocking_pool>(blocking_pool::options{name, threads}, context.metrics());
  };
  made.servers = pool("ingest-server", settings.servers);
  made.readers = pool("ingest-reader", settings.readers);
  made.lake_readers = pool("ingest-lake", config::lake_reads_at_once);
  made.slow = pool("ingest-slow", 1);
  made.requests = std::make_shared<request_handler>(
      request_handler_deps{made.log, made.into, made.validate, made.uploads, made.servers.get(),
                           made.lake_readers.get(), made.slow.get()});
  return component{};
}

expected<component> make_log_metrics_component(service_context& context,
                                               const std::shared_ptr<event_log>& log) {
  return component{spawn_log_metrics(context.system(), {log, &context.metrics(), context.report()})};
}

expected<component> make_lake_sealer_component(service_context& context, const wiring& made) {
  return component{spawn_lake_sealer(context.system(), {made.log, made.into, made.slow.get(),
                                                        context.report(), context.config<config>().keep_log,
                                                        context.config<config>().keep_quarantine})};
}

expected<component> make_imports_component(service_context& context, wiring& made) {
  TROUPE_TRY(known, load_imports(*made.log));
  import_supervisor_deps deps;
  deps.log = made.log;
  deps.readers = made.readers.get();
  deps.servers = made.servers.get();
  deps.validate = made.validate;
  deps.uploads = made.uploads;
  deps.settings = context.shared_config<config>();
  deps.report = context.report();
  deps.lag_bytes = context.metrics().gauge(
      "troupe_ingest_source_lag_bytes",
      "Bytes of the files of running imports that are not in the log yet: between position and end.");
  made.imports = spawn_import_supervisor(context.system(), std::move(deps), std::move(known));
  return component{made.imports};
}

expected<component> make_fetch_component(service_context& context, wiring& made) {
  made.fetch = spawn_fetch_server(context.system(), made.log, made.into, *made.servers, *made.lake_readers);
  return component{made.fetch};
}

expected<component> make_endpoint_component(service_context& context, const wiring& made) {
  auto imports = net::forward_to(made.imports);
  auto to = [requests = made.requests](void (request_handler::*answer)(net::request)) -> net::handler {
    return [requests, answer](net::request request) { (*requests.*answer)(std::move(request)); };
  };
  net::handler_map handlers;
  handlers[wire::Kind::import_start] = imports;
  handlers[wire::Kind::import_status] = imports;
  handlers[wire::Kind::import_cancel] = imports;
  handlers[wire::Kind::fetch] = net::forward_to(made.fetch);
  handlers[wire::Kind::append] = to(&request_handler::append);
  handlers[wire::Kind::log_info] = to(&request_handler::log_info);
  handlers[wire::Kind::fetch_columns] = to(&request_handler::fetch_columns);
  handlers[wire::Kind::quarantine_list] = to(&request_handler::quarantine_list);
  handlers[wire::Kind::quarantine_replay] = to(&request_handler::quarantine_replay);
  handlers[wire::Kind::lake_seal] = to(&request_handler::lake_seal);
  handlers[wire::Kind::upload_put] = [uploads = made.uploads](net::request request) {
    uploads->put(std::move(request));
  };
  return net::endpoint_component(context, std::move(handlers),
                                 [weak = weak_handle<fetch_server_actor>{made.fetch}] {
                                   if (auto strong = weak.lock())
                                     caf::anon_send(strong, drain_atom::value);
                                 });
}

} // namespace

component_list components() {
  auto made = std::make_shared<wiring>();
  return component_list{}
      .add("log", [made](service_context& context) { return make_log_component(context, *made); })
      .add(
          "log_metrics",
          [made](service_context& context) { return make_log_metrics_component(context, made->log); },
          needs{"log"})
      .add(
          "lake_sealer",
          [made](service_context& context) { return make_lake_sealer_component(context, *made); },
          needs{"log"})
      .add(
          "imports", [made](service_context& context) { return make_imports_component(context, *made); },
          needs{"log"})
      .add(
          "fetch", [made](service_context& context) { return make_fetch_component(context, *made); },
          needs{"log"})
      .add(
          "endpoint", [made](service_context& context) { return make_endpoint_component(context, *made); },
          needs{"imports", "fetch"});
}

} // namespace troupe::ingest
