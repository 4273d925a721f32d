#include "services/gateway/components.hpp"

#include "services/gateway/actors/arm_reporter.hpp"
#include "services/gateway/actors/fallback_items.hpp"
#include "services/gateway/actors/periodic_task.hpp"
#include "services/gateway/actors/request_actor.hpp"
#include "services/gateway/actors/routing_client.hpp"
#include "services/gateway/actors/slate_sender.hpp"
#include "services/gateway/handlers/inspect.hpp"
#include "services/gateway/http/admission.hpp"

#include "common/actor/blocking_pool.hpp"
#include "common/core/resource_limits.hpp"
#include "common/http/server.hpp"
#include "common/log/log.hpp"
#include "common/net/component.hpp"

#include <algorithm>
#include <fstream>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

/// What components make for those after them. The clients and the pool end with the component `state`, on the
/// main thread, whoever still holds the rest.
struct wiring {
  deps_ptr deps;
  std::unique_ptr<blocking_pool> pool; ///< For what blocks on the database and on files.
  std::vector<std::shared_ptr<net::client>> clients;

  post_function post() const {
    return [to = pool.get()](std::function<void()> task) { return to->post(std::move(task)); };
  }
};

/// A service behind us; one that the catalog does not have is answered for, not an error.
backend open_backend(service_context& context, std::string_view service, wiring& to) {
  if (!context.catalog()->find(service))
    return {};
  auto made = net::open_client(context, service);
  if (!made) {
    log::warn("no-client", "gateway works without {}: {}", service, render(made.error()));
    return {};
  }
  to.clients.push_back(*made);
  return backend{*made};
}

void show_outbox(metrics::registry& registry, const deps_ptr& deps) {
  auto waiting = registry.gauge("troupe_gateway_waiting_answers", "Answers whose slates wait for the log.");
  auto dropped = registry.counter("troupe_gateway_dropped_answers_total",
                                  "Answers whose slates were dropped, queue full.");
  auto refused = registry.counter("troupe_gateway_refused_slates_total", "Slates that the log refused.");
  registry.on_read([=, weak = std::weak_ptr{deps}]() mutable {
    if (auto now = weak.lock()) {
      auto seen = now->outbox->counters();
      waiting.set(static_cast<double>(seen.waiting));
      dropped.advance_to(static_cast<double>(seen.dropped));
      refused.advance_to(static_cast<double>(seen.refused));
    }
  });
}

void show_server(metrics::registry& registry, const std::shared_ptr<http::server>& server) {
  auto connections = registry.gauge("troupe_gateway_connections", "Open HTTP connections.");
  auto closed = [&registry](const char* reason) {
    return registry.counter("troupe_gateway_refused_connections_total",
                            "Connections closed unasked, by reason.", {{"reason", reason}});
  };
  auto refused = closed("full");
  auto room = closed("idle");
  auto slow = closed("timed_out");
  auto failed = registry.counter("troupe_gateway_accept_failures_total",
                                 "Times that the system had no descriptor or memory for a connection.");
  auto malformed =
      registry.counter("troupe_gateway_malformed_requests_total", "Requests that were no HTTP or too large.");
  registry.on_read([=, weak = std::weak_ptr{server}]() mutable {
    if (auto now = weak.lock()) {
      auto seen = now->counters();
      connections.set(static_cast<double>(seen.connections));
      refused.advance_to(static_cast<double>(seen.refused_full));
      room.advance_to(static_cast<double>(seen.made_room));
      slow.advance_to(static_cast<double>(seen.timed_out));
      failed.advance_to(static_cast<double>(seen.accept_failures));
      malformed.advance_to(static_cast<double>(seen.malformed));
    }
  });
}

/// Of the connections that the settings allow, as many as there are descriptors for: beside those that are
/// kept as many again are for the fleet and for answers that the server is full.
std::uint32_t connections_that_fit(std::uint32_t wanted) {
  auto limit = descriptor_limit();
  auto most = limit - 2 * descriptors_kept();
  if (wanted <= most)
    return wanted;
  log::warn(
      "few-descriptors",
      "gateway takes {} connections at a time, not {} (max_connections): it may have {} file descriptors; "
      "raise that limit (ulimit -Hn, LimitNOFILE)",
      most, wanted, limit);
  return static_cast<std::uint32_t>(most);
}

expected<http::server_options> server_options_of(const service_context& context, const gateway_deps& deps) {
  const auto& settings = *deps.settings;
  auto entry = context.entry();
  http::server_options options;
  options.address = settings.http_address;
  if (!deps.keys->guarded() && !http::is_loopback(options.address)) {
    log::warn("no-api-keys",
              "gateway listens on 127.0.0.1 only, not on {}: there are no API keys; `troupe api-keys create` "
              "makes one",
              options.address);
    options.address = "127.0.0.1";
  } else if (!deps.keys->guarded())
    log::info("no-api-keys", "gateway serves loopback without API keys");
  if (!entry.own_hosts && settings.http_port + context.replica() > 65'535)
    return fail(ec::invalid_argument, "http_port {} leaves no port for replica {}", settings.http_port,
                context.replica());
  options.port = entry.port_of(static_cast<std::uint16_t>(settings.http_port), context.replica());
  options.max_connections = connections_that_fit(settings.max_connections);
  options.max_body = settings.max_body;
  options.max_bodies = settings.max_bodies;
  options.max_header = static_cast<std::uint32_t>(settings.max_header);
  options.idle = settings.idle_timeout;
  options.header_timeout = settings.header_timeout;
  options.body_timeout = settings.body_timeout;
  options.threads = settings.http_threads;
  if (!settings.tls_certificate.empty()) {
    options.tls_certificate = context.catalog()->resolve(settings.tls_certificate).string();
    options.tls_key = context.catalog()->resolve(settings.tls_key).string();
  }
  return options;
}

expected<component> make_state(service_context& context, const std::shared_ptr<wiring>& made) {
  const auto& settings = context.config<config>();
  gateway_deps::open_options options;
  options.identity = context.identity();
  options.settings = context.shared_config<config>();
  options.behind.ingest = open_backend(context, "ingest", *made);
  options.behind.features = open_backend(context, "feature-store", *made);
  options.behind.registry = open_backend(context, "registry", *made);
  options.behind.deployer = open_backend(context, "deployer", *made);
  options.behind.ranker = open_backend(context, "ranker", *made);
  auto entry = context.entry();
  if (entry.replicas > 1 && std::ranges::find(entry.calls, entry.name) != entry.calls.end())
    options.peers.gateways = open_backend(context, entry.name, *made);
  options.peers.self = context.replica();
  options.peers.steady = entry.least_replicas != 0 ? entry.least_replicas : entry.replicas;
  options.health = context.health();
  options.metrics = &context.metrics();
  options.state = context.data() / "state";
  options.key_file = settings.api_keys.empty() ? context.catalog()->data() / "api-keys.toml"
                                               : context.catalog()->resolve(settings.api_keys);
  TROUPE_TRY(deps, gateway_deps::open(std::move(options)));
  made->deps = std::move(deps);
  made->pool =
      std::make_unique<blocking_pool>(blocking_pool::options{"gateway-store", 1, 64}, context.metrics());
  show_outbox(context.metrics(), made->deps);
  return component{std::function<void(deadline)>{[made](deadline) {
    made->pool.reset();
    made->deps->outbox->stop();
    made->clients.clear(); // What still waits for an answer hears that the gateway stops.
  }}};
}

expected<component> make_routing(service_context& context, const deps_ptr& deps) {
  if (!deps->behind.deployer)
    return component{};
  return component{spawn_routing_client(context.system(), deps, context.report())};
}

expected<component> make_reports(service_context& context, const deps_ptr& deps) {
  if (!deps->behind.deployer)
    return component{};
  return component{spawn_arm_reporter(context.system(), deps)};
}

expected<component> make_fallback(service_context& context, const deps_ptr& deps) {
  deps->fallback_items = spawn_fallback_items(context.system(), deps);
  return component{deps->fallback_items};
}

expected<component> make_requests(service_context& context, const deps_ptr& deps) {
  deps->requests_at_work = spawn_requests(context.system(), deps->settings->http_threads);
  component made{deps->requests_at_work.front()};
  made.stop = [&system = context.system(), all = deps->requests_at_work](deadline until) {
    if (!wait_until_ended(system, all, until))
      log::warn("stop-cut", "gateway stops with requests that are not answered");
  };
  return made;
}

expected<component> make_slates(service_context& context, const wiring& made) {
  return component{spawn_slate_sender(context.system(), made.deps, made.post())};
}

expected<component> make_keys(service_context& context, const wiring& made) {
  return component{
      spawn_periodic_task(context.system(), made.post(), 1s, [deps = made.deps, report = context.report()] {
        deps->keys->refresh();
        auto seen = deps->outbox->counters();
        report.gauge("slates_waiting", static_cast<double>(seen.waiting));
        report.gauge("slates_dropped", static_cast<double>(seen.dropped));
      })};
}

expected<component> make_expiry(service_context& context, const wiring& made) {
  return component{
      spawn_periodic_task(context.system(), made.post(), 10s, [deps = made.deps, report = context.report()] {
        if (auto done = forget_expired(*deps->database, wall_now()); !done)
          report.failed(done.error());
      })};
}

expected<component> make_http(service_context& context, const deps_ptr& deps) {
  TROUPE_TRY(options, server_options_of(context, *deps));
  options.before_body = [deps](const http::request& head) { return refuse_before_body(deps, head); };
  options.rejected = [deps](unsigned status) { deps->seen->answered(nullptr, status, {}, 0); };
  options.accept_fails = [report = context.report()](const std::string& why) {
    if (why.empty())
      return report.ready();
    report.not_ready(why);
    log::warn("accept-fails", "gateway waits: {}", why);
  };
  bool tls = !options.tls_certificate.empty();
  auto address = options.address;
  TROUPE_TRY(started, http::server::start_async(std::move(options),
                                                [deps](http::request asked, http::responder respond) {
                                                  serve(deps, std::move(asked), std::move(respond));
                                                }));
  std::shared_ptr<http::server> server = std::move(started);
  auto file = context.catalog()->data() / "run" / fmt::format("gateway-{}.port", context.replica());
  std::ofstream{file, std::ios::trunc} << server->port() << (tls ? " https\n" : " http\n");
  log::info("http", "gateway serves {}://{}:{}", tls ? "https" : "http", address, server->port());
  show_server(context.metrics(), server);
  return component{std::function<void(deadline)>{[server, file](deadline until) mutable {
    if (!server->drain(until.within(std::max<deadline::clock::duration>(until.left() - 1s, {}))))
      log::warn("drain-cut", "gateway closes {} connections whose time is over",
                server->counters().connections);
    server.reset();
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
  }}};
}

expected<component> make_endpoint(service_context& context, const deps_ptr& deps) {
  return net::endpoint_component(context, {{wire::Kind::inspect, [deps](net::request asked) {
                                              answer_inspection(*deps, std::move(asked));
                                            }}});
}

} // namespace

component_list components() {
  auto made = std::make_shared<wiring>();
  return component_list{}
      .add("state", [made](service_context& context) { return make_state(context, made); })
      .add(
          "routing", [made](service_context& context) { return make_routing(context, made->deps); },
          needs{"state"})
      .add(
          "reports", [made](service_context& context) { return make_reports(context, made->deps); },
          needs{"state"})
      .add(
          "fallback", [made](service_context& context) { return make_fallback(context, made->deps); },
          needs{"state"})
      .add(
          "slates", [made](service_context& context) { return make_slates(context, *made); }, needs{"state"})
      .add(
          "keys", [made](service_context& context) { return make_keys(context, *made); }, needs{"state"})
      .add(
          "expiry", [made](service_context& context) { return make_expiry(context, *made); }, needs{"state"})
      .add(
          "requests", [made](service_context& context) { return make_requests(context, made->deps); },
          needs{"fallback"})
      .add(
          "http", [made](service_context& context) { return make_http(context, made->deps); },
          needs{"requests"})
      .add(
          "endpoint", [made](service_context& context) { return make_endpoint(context, made->deps); },
          needs{"state"});
}

} // namespace troupe::gateway
