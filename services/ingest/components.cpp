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

/// What the components of this service share. Members end in reverse order: threads before what they work on.
struct ingest_parts {
  std::shared_ptr<event_log> log;
  std::shared_ptr<lake> into;
  validate_function validate;
  std::shared_ptr<upload_handler> uploads;
  std::shared_ptr<request_handler> requests;
  std::unique_ptr<blocking_pool> servers;
  std::unique_ptr<blocking_pool> readers;
  std::unique_ptr<blocking_pool> slow;
};

std::shared_ptr<ingest_parts> parts_of(service_context& context) {
  return context.shared<ingest_parts>("parts");
}

} // namespace

expected<component> make_log_component(service_context& context) {
  auto& settings = context.config<config>();
  log_options options;
  options.partitions = settings.partitions;
  options.allowed_lateness = settings.allowed_lateness;
  options.cache_bytes = settings.cache_bytes;
  options.write_buffer_bytes = settings.write_buffer_bytes;
  options.queue_bytes = settings.queue_bytes;
  auto parts = std::make_shared<ingest_parts>();
  TROUPE_TRY(log, event_log::open(context.data() / "log", options));
  parts->log = std::move(log);
  auto folder = settings.lake.empty() ? context.data() / "lake" : context.catalog()->resolve(settings.lake);
  parts->into = std::make_shared<lake>(parts->log, folder, settings.segment_records);
  if (settings.validation == "validator") {
    TROUPE_TRY(validator, net::open_client(context, "validator"));
    parts->validate = validate_by_service(validator, settings.validation_timeout);
  } else {
    parts->validate = validate_nothing();
  }
  auto& registry = context.metrics();
  TROUPE_TRY(uploads,
             upload_store::open({context.data() / "uploads", settings.upload_bytes, settings.upload_keep}));
  parts->uploads = std::make_shared<upload_handler>(parts->log, std::move(uploads), registry);
  registry.on_read([weak = std::weak_ptr{parts->uploads},
                    gauge = registry.gauge("troupe_ingest_upload_bytes",
                                           "Files sent to be imported that are still here.")]() mutable {
    if (auto held = weak.lock())
      gauge.set(static_cast<double>(held->store().bytes()));
  });
  parts->servers =
      std::make_unique<blocking_pool>(blocking_pool::options{"ingest-server", settings.servers}, registry);
  parts->readers =
      std::make_unique<blocking_pool>(blocking_pool::options{"ingest-reader", settings.readers}, registry);
  parts->slow = std::make_unique<blocking_pool>(blocking_pool::options{"ingest-slow", 1}, registry);
  parts->requests = std::make_shared<request_handler>(request_handler_deps{
      parts->log, parts->into, parts->validate, parts->uploads, parts->servers.get(), parts->slow.get()});
  context.share("parts", parts);
  return component{};
}

expected<component> make_log_metrics_component(service_context& context) {
  return component{
      spawn_log_metrics(context.system(), {parts_of(context)->log, &context.metrics(), context.report()})};
}

expected<component> make_lake_sealer_component(service_context& context) {
  auto parts = parts_of(context);
  return component{spawn_lake_sealer(context.system(), {parts->into, parts->slow.get(), context.report()})};
}

expected<component> make_imports_component(service_context& context) {
  auto parts = parts_of(context);
  TROUPE_TRY(known, load_imports(*parts->log));
  import_supervisor_deps deps;
  deps.log = parts->log;
  deps.readers = parts->readers.get();
  deps.servers = parts->servers.get();
  deps.validate = parts->validate;
  deps.uploads = parts->uploads;
  deps.settings = context.shared_config<config>();
  deps.report = context.report();
  deps.lag_bytes = context.metrics().gauge(
      "troupe_ingest_source_lag_bytes",
      "Bytes of the files of running imports that are not in the log yet: between position and end.");
  return component{spawn_import_supervisor(context.system(), std::move(deps), std::move(known))};
}

expected<component> make_fetch_component(service_context& context) {
  auto parts = parts_of(context);
  return component{spawn_fetch_server(context.system(), parts->log, *parts->servers)};
}

expected<component> make_endpoint_component(service_context& context) {
  auto parts = parts_of(context);
  auto imports = net::forward_to(context.actor<import_supervisor_actor>("imports"));
  auto fetch = context.actor<fetch_server_actor>("fetch");
  auto to = [requests = parts->requests](void (request_handler::*answer)(net::request)) -> net::handler {
    return [requests, answer](net::request request) { (*requests.*answer)(std::move(request)); };
  };
  net::handler_map handlers;
  handlers[wire::Kind::import_start] = imports;
  handlers[wire::Kind::import_status] = imports;
  handlers[wire::Kind::import_cancel] = imports;
  handlers[wire::Kind::fetch] = net::forward_to(fetch);
  handlers[wire::Kind::append] = to(&request_handler::append);
  handlers[wire::Kind::log_info] = to(&request_handler::log_info);
  handlers[wire::Kind::quarantine_list] = to(&request_handler::quarantine_list);
  handlers[wire::Kind::quarantine_replay] = to(&request_handler::quarantine_replay);
  handlers[wire::Kind::lake_seal] = to(&request_handler::lake_seal);
  handlers[wire::Kind::upload_put] = [uploads = parts->uploads](net::request request) {
    uploads->put(std::move(request));
  };
  return net::endpoint_component(context, std::move(handlers),
                                 [weak = weak_handle<fetch_server_actor>{fetch}] {
                                   if (auto strong = weak.lock())
                                     caf::anon_send(strong, drain_atom::value);
                                 });
}

} // namespace troupe::ingest
