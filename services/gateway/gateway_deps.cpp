#include "services/gateway/gateway_deps.hpp"

#include "services/gateway/http/render.hpp"
#include "services/gateway/http/routes.hpp"

#include <sodium.h>

namespace troupe::gateway {

expected<std::shared_ptr<gateway_deps>> gateway_deps::open(open_options options) {
  if (::sodium_init() < 0)
    return fail(ec::internal, "libsodium does not start");
  auto made = std::make_shared<gateway_deps>();
  made->settings = options.settings;
  made->behind = options.behind;
  made->options = std::move(options);
  const auto& settings = *made->settings;
  TROUPE_TRY(keys, key_ring::open(made->options.key_file));
  made->keys = std::move(keys);
  TROUPE_TRY(database, open_state_database(made->options.state));
  made->database = std::move(database);
  TROUPE_TRY(outbox, slate_outbox::open(made->database, {settings.queue_answers, settings.sync_impressions}));
  made->outbox = std::move(outbox);
  made->requests = std::make_unique<request_log>(
      made->database, request_log::options{settings.inspect_recent, settings.inspect_ttl});
  made->row_times = std::make_unique<idempotency_store>(made->database);
  made->state = std::make_unique<gateway_state>(made->database);
  made->seen = std::make_unique<request_metrics>(*made->options.metrics);
  TROUPE_TRY(table, made->state->get_state(routing_state));
  if (table)
    if (auto read = routing_table::read(chunk::own(std::move(*table))))
      made->routing.set(std::make_shared<const routing_table>(std::move(*read)));
  TROUPE_TRY(list, made->state->get_state(fallback_state));
  if (list)
    if (auto read = read_fallback_list(*list))
      made->fallback.set(std::make_shared<const fallback_list>(std::move(*read)));
  for (const auto& each : routes())
    made->router.add(each.method, each.pattern, !each.get_only);
  made->openapi = gateway::openapi(false);
  made->openapi_with_keys = gateway::openapi(true);
  return made;
}

expected<std::string> gateway_deps::inspection(const std::string& request_id) const {
  TROUPE_TRY(kept, requests->get(request_id));
  if (!kept)
    return fail(ec::not_found, "there is no request of this id, or it is too long ago");
  return render_inspection(*kept);
}

} // namespace troupe::gateway
