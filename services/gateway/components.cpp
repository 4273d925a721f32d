#include "services/gateway/components.hpp"

#include "services/gateway/api.hpp"

#include "common/http/server.hpp"
#include "common/log/log.hpp"
#include "common/net/component.hpp"

#include <algorithm>
#include <fstream>

namespace troupe::gateway {

namespace {

/// A service behind us; one that the catalog does not have is answered for, not an error.
std::shared_ptr<net::client> client_of(service_context& context, std::string_view service) {
  if (!context.catalog()->find(service))
    return nullptr;
  auto made = net::open_client(context, service);
  if (made)
    return *made;
  log::warn("no-client", "gateway works without {}: {}", service, render(made.error()));
  return nullptr;
}

void show_counters(service_context& context, const std::shared_ptr<http::server>& server,
                   const std::shared_ptr<api>& serving) {
  auto& registry = context.metrics();
  auto connections = registry.gauge("troupe_gateway_connections", "Open HTTP connections.");
  auto closed = [&registry](const char* reason) {
    return registry.counter("troupe_gateway_refused_connections_total",
                            "Connections closed unasked, by reason.", {{"reason", reason}});
  };
  auto refused = closed("full");
  auto slow = closed("timed_out");
  auto malformed =
      registry.counter("troupe_gateway_malformed_requests_total", "Requests that were no HTTP or too large.");
  auto waiting =
      registry.gauge("troupe_gateway_waiting_answers", "Answers whose impressions wait for the log.");
  auto dropped = registry.counter("troupe_gateway_dropped_answers_total",
                                  "Answers whose impressions were dropped, queue full.");
  auto lost =
      registry.counter("troupe_gateway_refused_impressions_total", "Impressions that the log refused.");
  registry.on_read([=, weak = std::weak_ptr{server}, held = std::weak_ptr{serving}]() mutable {
    if (auto now = weak.lock()) {
      auto seen = now->counters();
      connections.set(static_cast<double>(seen.connections));
      refused.advance_to(static_cast<double>(seen.refused_full));
      slow.advance_to(static_cast<double>(seen.timed_out));
      malformed.advance_to(static_cast<double>(seen.malformed));
    }
    if (auto now = held.lock()) {
      auto seen = now->impressions();
      waiting.set(static_cast<double>(seen.waiting));
      dropped.advance_to(static_cast<double>(seen.dropped));
      lost.advance_to(static_cast<double>(seen.refused));
    }
  });
}

} // namespace

expected<component> http_component(service_context& context) {
  const auto& settings = context.config<config>();
  api_parts parts;
  parts.who = context.who();
  parts.settings = context.shared_config<config>();
  parts.behind = {client_of(context, "ingest"), client_of(context, "feature-store"),
                  client_of(context, "registry"), client_of(context, "deployer"),
                  client_of(context, "ranker")};
  auto entry = context.entry();
  if (entry.replicas > 1 && std::ranges::find(entry.calls, entry.name) != entry.calls.end())
    parts.others.client = client_of(context, entry.name);
  parts.others.self = context.replica();
  parts.others.steady = entry.least_replicas != 0 ? entry.least_replicas : entry.replicas;
  parts.health = context.health();
  parts.report = context.report();
  parts.metrics = &context.metrics();
  parts.state = context.data() / "state";
  parts.key_file = settings.api_keys.empty() ? context.catalog()->data() / "api-keys.toml"
                                             : context.catalog()->resolve(settings.api_keys);
  TROUPE_TRY(opened, api::open(std::move(parts)));
  std::shared_ptr<api> serving = opened;

  http::server_options options;
  options.address = settings.http_address;
  if (!serving->guarded() && !http::is_loopback(options.address)) {
    log::warn("no-api-keys",
              "gateway listens on 127.0.0.1 only, not on {}: there are no API keys; `troupe api-keys create` "
              "makes one",
              options.address);
    options.address = "127.0.0.1";
  } else if (!serving->guarded())
    log::info("no-api-keys", "gateway serves loopback without API keys");
  if (!context.entry().own_hosts && settings.http_port + context.replica() > 65'535)
    return fail(ec::invalid_argument, "http_port {} leaves no port for replica {}", settings.http_port,
                context.replica());
  options.port = context.entry().port_of(static_cast<std::uint16_t>(settings.http_port), context.replica());
  options.max_connections = settings.max_connections;
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
  options.rejected = [serving](unsigned status) { serving->note_rejected(status); };
  bool tls = !options.tls_certificate.empty();
  auto address = options.address;
  auto started =
      http::server::start_async(std::move(options), [serving](http::request asked, http::responder respond) {
        serving->serve(std::move(asked), std::move(respond));
      });
  if (!started) {
    serving->stop();
    return unexpected<error>{std::move(started).error()};
  }
  std::shared_ptr<http::server> server = std::move(*started);
  auto file = context.catalog()->data() / "run" / fmt::format("gateway-{}.port", context.replica());
  std::ofstream{file, std::ios::trunc} << server->port() << (tls ? " https\n" : " http\n");
  log::info("http", "gateway serves {}://{}:{}", tls ? "https" : "http", address, server->port());
  show_counters(context, server, serving);
  context.share("api", serving);
  return component{std::function<void(deadline)>{[server, serving, file](deadline until) mutable {
    if (!server->drain(
            until.within(std::max<deadline::clock::duration>(until.left() - std::chrono::seconds{1}, {}))))
      log::warn("drain-cut", "gateway closes {} connections whose time is over",
                server->counters().connections);
    serving->stop();
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
  }}};
}

expected<component> endpoint_component(service_context& context) {
  auto serving = context.shared<api>("api");
  return net::endpoint_component(context, {{wire::Kind::inspect, [serving](net::request asked) {
                                              serving->answer_gateway(std::move(asked));
                                            }}});
}

} // namespace troupe::gateway
