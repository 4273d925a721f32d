#include "services/gateway/http/routes.hpp"

#include "services/gateway/handlers/info.hpp"
#include "services/gateway/handlers/inspect.hpp"
#include "services/gateway/handlers/proxy.hpp"
#include "services/gateway/handlers/read_entity.hpp"
#include "services/gateway/handlers/recommend.hpp"
#include "services/gateway/handlers/similar.hpp"
#include "services/gateway/handlers/write_rows.hpp"

#include <algorithm>

namespace troupe::gateway {

namespace {

using enum record_kind;
using enum row_source;

constexpr std::uint8_t anybody = 0, may_read = 1, may_write = 2, may_decide = 4;

// Headers of the request that a route reads.
constexpr auto no_headers = "", names_rows = "Idempotency-Key", sees_writes = "X-Consistency-Token",
               sees_writes_in_a_hurry = "X-Deadline-Ms X-Consistency-Token";

/// Answered where the request is read.
constexpr route at_once(const char* pattern, std::uint8_t scope,
                        http::response (*answer)(const gateway_deps&, const http::request&),
                        const char* summary, const char* result) {
  return {"GET", pattern, scope, answer, nullptr, summary, "", no_headers, nullptr, result};
}

constexpr route table[] = {
    at_once("/", anybody, answer_root, "What this is and where to go, for programs and for browsers",
            "Welcome"),
    at_once("/health/live", anybody, answer_live, "The process runs", "Text"),
    at_once("/health/ready", anybody, answer_ready, "Whether the gateway is ready, part by part", "Health"),
    at_once("/metrics", may_read, answer_metrics, "Metrics in the text format of Prometheus", "Text"),
    at_once("/openapi.json", anybody, answer_openapi, "This document", "Document"),
    {"POST", "/v1/events", may_write, nullptr, make_handler<write_rows, event, rows>,
     "Events, answered when they are durable, with a verdict per row", "", names_rows, "Rows", "Verdicts"},
    {"PUT", "/v1/items/{id}", may_write, nullptr, make_handler<write_rows, item, entity>,
     "The whole of an item: attributes that are not in the body it has no more", "", no_headers, "Entity",
     "Verdicts"},
    {"GET", "/v1/items/{id}", may_read, nullptr, make_handler<read_entity, item>,
     "Attributes of an item: all of its newest record", "", sees_writes, nullptr, "EntityRead"},
    {"DELETE", "/v1/items/{id}", may_write, nullptr, make_handler<write_rows, item, gone>,
     "Deletes an item: it is shown no more, until it is written again", "", no_headers, nullptr, "Verdicts"},
    {"POST", "/v1/items", may_write, nullptr, make_handler<write_rows, item, rows>,
     "Many items, each the whole of it", "", names_rows, "Rows", "Verdicts"},
    {"PUT", "/v1/users/{id}", may_write, nullptr, make_handler<write_rows, user, entity>,
     "The whole of a user: attributes that are not in the body they have no more", "", no_headers, "Entity",
     "Verdicts"},
    {"GET", "/v1/users/{id}", may_read, nullptr, make_handler<read_entity, user>,
     "Attributes of a user: all of their newest record", "", sees_writes, nullptr, "EntityRead"},
    {"DELETE", "/v1/users/{id}", may_write, nullptr, make_handler<write_rows, user, gone>,
     "Deletes a user: a stranger at once, until written again", "", no_headers, nullptr, "Verdicts"},
    {"POST", "/v1/users", may_write, nullptr, make_handler<write_rows, user, rows>,
     "Many users, each the whole of it", "", names_rows, "Rows", "Verdicts"},
    {"GET", "/v1/users/{id}/recommendations", may_read, nullptr, make_handler<recommend_user>,
     "Items for a user, best first", "n explain exclude[] filter[]", sees_writes_in_a_hurry, nullptr,
     "Recommendations", true},
    {"POST", "/v1/recommendations", may_read, nullptr, make_handler<recommend_body>,
     "Items for a user or a session, by context and filters", "", sees_writes_in_a_hurry, "RecommendRequest",
     "Recommendations"},
    {"GET", "/v1/items/{id}/similar", may_read, nullptr, make_handler<similar>, "Items like an item",
     "n exclude[] filter[]", sees_writes_in_a_hurry, nullptr, "Recommendations"},
    {"GET", "/v1/requests/{id}", may_read, nullptr, make_handler<inspect>, "What happened to a request", "",
     no_headers, nullptr, "Inspection"},
    {"GET", "/v1/runs", may_read, nullptr, make_handler<proxy, &list_runs>, "Training runs, newest first",
     "experiment before limit", no_headers, nullptr, "Runs"},
    {"GET", "/v1/runs/{id}", may_read, nullptr, make_handler<proxy, &show_run>, "One training run", "",
     no_headers, nullptr, "Run"},
    {"GET", "/v1/models", may_read, nullptr, make_handler<proxy, &list_models>, "Versions of models",
     "name after limit", no_headers, nullptr, "Models"},
    {"GET", "/v1/models/{name}", may_read, nullptr, make_handler<proxy, &show_model>,
     "One version: a number, an alias or a hash; else the newest", "version", no_headers, nullptr, "Model"},
    {"GET", "/v1/releases", may_read, nullptr, make_handler<proxy, &list_releases>, "Releases, newest first",
     "before limit", no_headers, nullptr, "Releases"},
    {"GET", "/v1/releases/{id}", may_read, nullptr, make_handler<proxy, &show_release>, "One release", "",
     no_headers, nullptr, "Release"},
    {"GET", "/v1/rollouts", may_read, nullptr, make_handler<proxy, &list_rollouts>, "Rollouts, newest first",
     "before limit", no_headers, nullptr, "Rollouts"},
    {"GET", "/v1/rollouts/{id}", may_read, nullptr, make_handler<proxy, &show_rollout>,
     "One rollout with its decisions", "", no_headers, nullptr, "Rollout"},
    {"POST", "/v1/rollouts/{id}/promote", may_decide, nullptr, make_handler<proxy, &promote_rollout>,
     "Promotes a rollout", "", no_headers, "Reason", "Rollout"},
    {"POST", "/v1/rollouts/{id}/abort", may_decide, nullptr, make_handler<proxy, &abort_rollout>,
     "Aborts a rollout, in any state", "", no_headers, "Reason", "Rollout"},
};

} // namespace

std::span<const route> routes() noexcept {
  return table;
}

std::vector<std::string_view> words_in(std::string_view text) {
  std::vector<std::string_view> out;
  for_each_word(text, [&](std::string_view word) { out.push_back(word); });
  return out;
}

} // namespace troupe::gateway
