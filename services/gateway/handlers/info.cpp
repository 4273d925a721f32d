#include "services/gateway/handlers/info.hpp"

#include "services/gateway/gateway_deps.hpp"
#include "services/gateway/http/render.hpp"

namespace troupe::gateway {

namespace {

struct place {
  std::string_view path, what;
};

constexpr place places[] = {
    {"/openapi.json", "every route, as an OpenAPI document"},
    {"/health/ready", "whether the fleet's gateway is ready, part by part"},
    {"/metrics", "metrics in the text format of Prometheus"},
    {"/v1/users/{id}/recommendations", "items for a user, best first"},
    {"/v1/items/{id}/similar", "items like an item"},
    {"/v1/requests/{id}", "what happened to a request"},
};

constexpr std::string_view what_this_is = "The gateway of a Troupe fleet: events in, recommendations out.";

std::string page() {
  std::string out = fmt::format("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                                "<title>Troupe gateway</title></head>\n<body><h1>Troupe gateway</h1>\n"
                                "<p>{}</p>\n<ul>\n",
                                what_this_is);
  for (const auto& [path, what] : places)
    if (path.find('{') == std::string_view::npos)
      out += fmt::format("<li><a href=\"{}\">{}</a>: {}</li>\n", path, path, what);
    else
      out += fmt::format("<li><code>{}</code>: {}</li>\n", path, what);
  return out + "</ul></body></html>\n";
}

} // namespace

http::response answer_root(const gateway_deps& deps, const http::request& asked) {
  // A browser asks for HTML first; programs take JSON.
  if (asked.header("accept").find("text/html") != std::string_view::npos)
    return {200, "text/html; charset=utf-8", page()};
  json::object go;
  for (const auto& [path, what] : places)
    go[path] = what;
  return json_answer(
      json::object{{"service", "troupe-gateway"},
                   {"replica", deps.options.identity},
                   {"what", what_this_is},
                   {"keys", deps.keys->guarded() ? "needed" : "none: only this machine is served"},
                   {"paths", std::move(go)}});
}

http::response answer_live(const gateway_deps&, const http::request&) {
  return {200, "text/plain; charset=utf-8", "live\n"};
}

http::response answer_ready(const gateway_deps& deps, const http::request&) {
  const auto& health = deps.options.health;
  bool good = !health || health->read().ready;
  return {good ? 200u : 503u, "application/json", health ? health->json() : "{\"ready\":true}"};
}

http::response answer_metrics(const gateway_deps& deps, const http::request&) {
  return {200, "text/plain; version=0.0.4; charset=utf-8", deps.options.metrics->text()};
}

http::response answer_openapi(const gateway_deps& deps, const http::request&) {
  return {200, "application/json", deps.keys->guarded() ? deps.openapi_with_keys : deps.openapi};
}

} // namespace troupe::gateway
