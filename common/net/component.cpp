#include "common/net/component.hpp"

#include "common/log/log.hpp"
#include "common/metrics/metrics.hpp"
#include "common/security/keys.hpp"

#include <cstdlib>

namespace troupe::net {

namespace {

using security::key_kind;
using security::resolve_key;

/// A number that the network layer counts, and the metric it becomes.
template <class Counters>
struct shown {
  std::string name;
  std::string help;
  std::uint64_t Counters::*field;
  metrics::labels by = {};
};

/// Shows numbers that somebody else counts: read anew before each scrape, from whoever is still there.
template <class Source, class Counters>
void show(metrics::registry& registry, std::weak_ptr<Source> source, const metrics::labels& by,
          const std::vector<shown<Counters>>& fields) {
  std::vector<std::pair<metrics::counter, std::uint64_t Counters::*>> counters;
  for (const auto& each : fields) {
    auto labels = by;
    labels.insert(each.by.begin(), each.by.end());
    counters.emplace_back(registry.counter(each.name, each.help, labels), each.field);
  }
  registry.on_read([source = std::move(source), counters = std::move(counters)]() mutable {
    auto held = source.lock();
    if (!held)
      return;
    auto now = held->counters();
    for (auto& [counter, field] : counters)
      counter.advance_to(static_cast<double>(now.*field));
  });
}

expected<std::optional<curve_client>> curve_towards(const service_entry& service,
                                                    const std::filesystem::path& folder,
                                                    const std::string& own_secret) {
  if (!service.curve.enabled() && service.curve.public_key.empty())
    return std::optional<curve_client>{};
  if (own_secret.empty())
    return fail(ec::unauthorized, "{} asks for a CURVE key and none is given: make one with `troupe keys`",
                service.name);
  TROUPE_TRY(server, resolve_key(service.curve.public_key, folder, key_kind::public_key));
  TROUPE_TRY(secret, resolve_key(own_secret, folder, key_kind::secret));
  TROUPE_TRY(own, security::public_key_of(secret));
  return curve_client{server, own, secret};
}

/// Of a program that has just begun: a busy service takes its time to greet it.
constexpr std::chrono::seconds patience_of_programs{10};

expected<client_options> options_towards(const catalog& from, std::string_view service, std::string caller,
                                         const std::string& own_secret) {
  TROUPE_TRY(entry, from.find(service));
  TROUPE_TRY(curve, curve_towards(*entry, from.folder(), own_secret));
  client_options options;
  options.service = entry->name;
  options.addresses = entry->endpoints;
  options.caller = std::move(caller);
  options.max_in_flight = entry->max_in_flight;
  options.retry_budget = entry->retry_budget;
  options.curve = std::move(curve);
  return options;
}

} // namespace

expected<component> endpoint_component(service_context& context, handler_map handlers,
                                       std::function<void()> on_drain) {
  auto entry = context.entry();
  auto folder = context.catalog()->folder();
  endpoint_options options;
  options.address = entry.binds.at(context.replica());
  options.identity = context.identity();
  options.max_in_flight = entry.max_in_flight;
  options.on_drain = std::move(on_drain);
  if (entry.curve.enabled()) {
    curve_server keys;
    TROUPE_TRY(secret, resolve_key(entry.curve.secret, folder, key_kind::secret));
    keys.secret_key = secret;
    for (auto& reference : entry.curve.allow) {
      TROUPE_TRY(key, resolve_key(reference, folder, key_kind::public_key));
      keys.allow.push_back(std::move(key));
    }
    options.curve = std::move(keys);
  }
  if (!handlers.contains(wire::Kind::status))
    handlers[wire::Kind::status] = [health = context.health()](request req) {
      req.respond.reply(health->status_reply());
    };
  options.accept_fails = [report = context.report()](const std::string& why) {
    if (why.empty())
      return report.ready();
    report.not_ready(why);
    log::warn("accept-fails", "{}", why);
  };
  TROUPE_TRY(opened, endpoint::open(std::move(options), std::move(handlers)));
  std::shared_ptr<endpoint> shared{std::move(opened)};
  using c = endpoint_counters;
  const std::string refused = "Requests and connections refused, by reason.";
  const std::string dropped = "Messages dropped without an answer, by reason.";
  std::vector<shown<c>> fields{
      {"troupe_endpoint_requests_total", "Requests given to a handler.", &c::requests},
      {"troupe_endpoint_replies_total", "Answers sent, refusals too.", &c::replies}};
  for (auto [reason, field] : {std::pair{"overloaded", &c::refused_overloaded},
                               {"stopping", &c::refused_stopping},
                               {"too_late", &c::refused_too_late},
                               {"kind", &c::refused_kind},
                               {"version", &c::refused_version},
                               {"key", &c::refused_key},
                               {"handshake", &c::refused_handshake}})
    fields.push_back({"troupe_endpoint_refused_total", refused, field, {{"reason", reason}}});
  for (auto [reason, field] : {std::pair{"malformed", &c::dropped_malformed},
                               {"peer_gone", &c::dropped_peer_gone},
                               {"peer_full", &c::dropped_peer_full}})
    fields.push_back({"troupe_endpoint_dropped_total", dropped, field, {{"reason", reason}}});
  show<endpoint, c>(context.metrics(), shared, {}, fields);
  context.metrics().on_read(
      [weak = std::weak_ptr{shared},
       gauge = context.metrics().gauge("troupe_endpoint_in_flight_requests", "Requests at work.")]() mutable {
        if (auto held = weak.lock())
          gauge.set(static_cast<double>(held->counters().in_flight));
      });
  component made;
  made.stop = [shared](deadline until) {
    shared->drain(until);
    shared->stop();
  };
  return made;
}

expected<std::shared_ptr<client>> open_client(service_context& context, std::string_view service) {
  TROUPE_TRY(options,
             options_towards(*context.catalog(), service, context.identity(), context.entry().curve.secret));
  TROUPE_TRY(opened, client::open(std::move(options)));
  std::shared_ptr<client> shared{std::move(opened)};
  using c = client_counters;
  show<client, c>(
      context.metrics(), shared, {{"to", std::string{service}}},
      {{"troupe_client_calls_total", "Calls made.", &c::calls},
       {"troupe_client_succeeded_total", "Calls that were answered.", &c::succeeded},
       {"troupe_client_failed_total", "Calls that failed.", &c::failed},
       {"troupe_client_retries_total", "Calls sent again to another replica.", &c::retries},
       {"troupe_client_retries_denied_total", "Retries left out, the budget being spent.",
        &c::retries_denied},
       {"troupe_client_refused_total", "Calls refused by our own bound.", &c::refused_overloaded},
       {"troupe_client_connections_lost_total", "Connections lost.", &c::connections_lost},
       {"troupe_client_dropped_total", "Answers dropped, by reason.", &c::dropped_late, {{"reason", "late"}}},
       {"troupe_client_dropped_total",
        "Answers dropped, by reason.",
        &c::dropped_malformed,
        {{"reason", "malformed"}}}});
  return shared;
}

expected<std::unique_ptr<client>> open_client(const catalog& from, std::string_view service,
                                              std::string caller, const std::string& own_secret) {
  TROUPE_TRY(options, options_towards(from, service, std::move(caller), own_secret));
  options.handshake_wait = patience_of_programs;
  return client::open(std::move(options));
}

} // namespace troupe::net
