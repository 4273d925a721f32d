#include "common/net/component.hpp"

#include "common/metrics/metrics.hpp"
#include "common/security/keys.hpp"

#include <cstdlib>

namespace troupe::net {

namespace {

using security::key_kind;
using security::resolve_key;

/// Shows numbers that somebody else counts: read anew before each scrape, by whoever is still there.
template <class Source, class Counters>
void show(metrics::registry& registry, std::weak_ptr<Source> source, const std::string& prefix,
          const metrics::labels& by, std::vector<std::pair<std::string, std::uint64_t Counters::*>> fields) {
  std::vector<std::pair<metrics::gauge, std::uint64_t Counters::*>> gauges;
  for (auto& [name, field] : fields)
    gauges.emplace_back(registry.gauge(prefix + name, "Seen by the network layer since start: " + name, by),
                        field);
  registry.on_read([source = std::move(source), gauges = std::move(gauges)]() mutable {
    auto held = source.lock();
    if (!held)
      return;
    auto now = held->counters();
    for (auto& [gauge, field] : gauges)
      gauge.set(static_cast<double>(now.*field));
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

expected<std::unique_ptr<client>> open_client_of(const catalog& from, std::string_view service,
                                                 std::string caller, const std::string& own_secret) {
  TROUPE_TRY(entry, from.find(service));
  TROUPE_TRY(curve, curve_towards(*entry, from.folder(), own_secret));
  client_options options;
  options.service = entry->name;
  options.addresses = entry->endpoints;
  options.caller = std::move(caller);
  options.max_in_flight = entry->max_in_flight;
  options.retry_budget = entry->retry_budget;
  options.curve = std::move(curve);
  return client::open(std::move(options));
}

} // namespace

expected<component> endpoint_component(service_context& context, handler_map handlers,
                                       std::function<void()> on_drain) {
  auto entry = context.entry();
  auto folder = context.catalog()->folder();
  endpoint_options options;
  options.address = entry.binds.at(context.replica());
  options.who = context.who();
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
  TROUPE_TRY(opened, endpoint::open(std::move(options), std::move(handlers)));
  std::shared_ptr<endpoint> shared{std::move(opened)};
  using c = endpoint_counters;
  show<endpoint, c>(context.metrics(), shared, "troupe_endpoint_", {},
                    {{"requests", &c::requests},
                     {"replies", &c::replies},
                     {"in_flight", &c::in_flight},
                     {"refused_overloaded", &c::refused_overloaded},
                     {"refused_stopping", &c::refused_stopping},
                     {"refused_too_late", &c::refused_too_late},
                     {"refused_kind", &c::refused_kind},
                     {"refused_version", &c::refused_version},
                     {"refused_key", &c::refused_key},
                     {"refused_handshake", &c::refused_handshake},
                     {"dropped_malformed", &c::dropped_malformed},
                     {"dropped_peer_gone", &c::dropped_peer_gone},
                     {"dropped_peer_full", &c::dropped_peer_full}});
  component made;
  made.stop = [shared](deadline until) {
    shared->drain(until);
    shared->stop();
  };
  return made;
}

expected<std::shared_ptr<client>> open_client(service_context& context, std::string_view service) {
  TROUPE_TRY(opened,
             open_client_of(*context.catalog(), service, context.who(), context.entry().curve.secret));
  std::shared_ptr<client> shared{std::move(opened)};
  using c = client_counters;
  show<client, c>(context.metrics(), shared, "troupe_client_", {{"service", std::string{service}}},
                  {{"calls", &c::calls},
                   {"succeeded", &c::succeeded},
                   {"failed", &c::failed},
                   {"retries", &c::retries},
                   {"retries_denied", &c::retries_denied},
                   {"refused_overloaded", &c::refused_overloaded},
                   {"connections_lost", &c::connections_lost},
                   {"dropped_late", &c::dropped_late},
                   {"dropped_malformed", &c::dropped_malformed}});
  return shared;
}

expected<std::unique_ptr<client>> open_client(const catalog& from, std::string_view service,
                                              std::string caller, const std::string& own_secret) {
  return open_client_of(from, service, std::move(caller), own_secret);
}

} // namespace troupe::net
