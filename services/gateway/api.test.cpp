#include "services/gateway/api.hpp"

#include "common/net/endpoint.hpp"
#include "common/security/api_keys.hpp"
#include "common/testing/temp_dir.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <future>
#include <set>
#include <thread>

using namespace troupe;
using namespace troupe::gateway;
namespace json = boost::json;

namespace {

/// A gateway with nothing behind it.
struct lonely {
  testing::temp_dir folder;
  std::shared_ptr<config> settings = std::make_shared<config>();
  metrics::registry metrics;
  std::shared_ptr<api> serving;

  void open(siblings others = {}) {
    api_parts parts;
    parts.others = std::move(others);
    parts.settings = settings;
    parts.metrics = &metrics;
    parts.state = folder / "state";
    parts.key_file = folder / "api-keys.toml";
    serving = api::open(std::move(parts)).value();
  }
  ~lonely() {
    if (serving)
      serving->stop();
  }

  http::response ask(const std::string& method, const std::string& path, const std::string& body = {},
                     http::header_list headers = {}) {
    auto answer = std::make_shared<std::promise<http::response>>();
    http::request asked;
    asked.method = method;
    auto mark = path.find('?');
    asked.path = path.substr(0, mark);
    asked.query = mark == std::string::npos ? "" : path.substr(mark + 1);
    asked.body = body;
    asked.headers = std::move(headers);
    asked.peer = "127.0.0.1";
    serving->serve(std::move(asked),
                   http::responder{[answer](http::response given) { answer->set_value(std::move(given)); }});
    return answer->get_future().get();
  }

  /// Checks the shape of a problem document on the way.
  unsigned problem(const http::response& given, const std::string& code) {
    auto read = json::parse(given.body);
    CHECK(given.content_type == "application/problem+json");
    CHECK(read.at("status").to_number<unsigned>() == given.status);
    CHECK(json::value_to<std::string>(read.at("code")) == code);
    CHECK(!json::value_to<std::string>(read.at("detail")).empty());
    CHECK(read.at("type").is_string());
    CHECK(read.at("title").is_string());
    return given.status;
  }
};

std::string header_of(const http::response& from, const std::string& name) {
  for (const auto& [key, value] : from.headers)
    if (key == name)
      return value;
  return {};
}

} // namespace

TEST_CASE("the OpenAPI document lists every route with method, scope, parameters and problems") {
  auto document = json::parse(openapi());
  std::size_t count = 0;
  std::set<std::string> ids;

  for (const auto& each : routes()) {
    std::string method = each.method;
    for (auto& c : method)
      c = static_cast<char>(std::tolower(c));
    const auto& entry = document.at("paths").at(each.pattern).at(method);
    CHECK(entry.at("responses").as_object().contains("default"));
    CHECK(entry.as_object().contains("x-scope") == (each.scope != 0));
    CHECK(entry.as_object().contains("requestBody") == (each.body != nullptr));
    CHECK(ids.insert(json::value_to<std::string>(entry.at("operationId"))).second);
    ++count;
  }

  CHECK(count == routes().size());
  CHECK(document.at("paths").as_object().size() > 15);
  auto text = openapi();
  for (auto at = text.find("#/components/schemas/"); at != std::string::npos;
       at = text.find("#/components/schemas/", at + 1)) {
    auto name = text.substr(at + 21, text.find('"', at) - at - 21);
    CHECK_MESSAGE(document.at("components").at("schemas").as_object().contains(name), name);
  }
}

TEST_CASE("wrong addresses, methods and bodies are answered by problem documents") {
  lonely gateway;
  gateway.open();

  CHECK(gateway.problem(gateway.ask("GET", "/nowhere"), "not_found") == 404);
  auto other = gateway.ask("DELETE", "/v1/events");
  CHECK(gateway.problem(other, "invalid_argument") == 405);
  CHECK(header_of(other, "Allow") == "POST");
  CHECK(gateway.problem(gateway.ask("POST", "/v1/recommendations", "{"), "invalid_argument") == 400);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/users/u/recommendations?n=0"), "invalid_argument") == 400);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/users/u/recommendations?n=%zz"), "invalid_argument") == 400);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/requests/none"), "not_found") == 404);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/runs"), "unavailable") == 503);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/items/i/similar?n=x"), "invalid_argument") == 400);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/users/u/recommendations?explain=maybe"),
                        "invalid_argument") == 400);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/users/%ff%fe/recommendations"), "invalid_argument") == 400);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/users/%4/recommendations"), "invalid_argument") == 400);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/items/" + std::string(1'025, 'x')), "invalid_argument") ==
        400);
  CHECK(gateway.problem(gateway.ask("HEAD", "/v1/users/u/recommendations"), "invalid_argument") == 405);
  CHECK(gateway.problem(gateway.ask("GET", "/v1/users/u", {}, {{"X-Consistency-Token", "1"}}),
                        "invalid_argument") == 400);
  CHECK(gateway.problem(gateway.ask("POST", "/v1/events", "x", {{"Content-Encoding", "gzip"}}),
                        "invalid_argument") == 415);
  CHECK(gateway.problem(gateway.ask("POST", "/v1/events", R"({"type":"click","user":"u","item":"i"})"),
                        "unavailable") == 503);
}

TEST_CASE("without anything behind it the gateway answers, says that it is degraded, and can explain it") {
  lonely gateway;
  gateway.open();

  auto given = gateway.ask("GET", "/v1/users/u/recommendations?n=3", {},
                           {{"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}});
  REQUIRE(given.status == 200);
  auto answer = json::parse(given.body);
  CHECK(!answer.at("degraded").as_array().empty());
  auto trace = header_of(given, "traceparent");
  CHECK(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
  CHECK(trace.ends_with("-01"));
  CHECK(trace.find("b7ad6b7169203331") == std::string::npos);

  auto id = json::value_to<std::string>(answer.at("request_id"));
  CHECK(header_of(given, "X-Request-Id") == id);
  auto inspected = gateway.ask("GET", "/v1/requests/" + id);
  REQUIRE(inspected.status == 200);
  CHECK(json::parse(inspected.body).at("stages").as_array().size() == 1);
  CHECK(json::parse(inspected.body).at("trace_id") == "0af7651916cd43dd8448eb211c80319c");
  auto like = gateway.ask("GET", "/v1/items/a%2Fb/similar");
  REQUIRE(like.status == 200);
  CHECK(!json::parse(like.body).at("degraded").as_array().empty());
  auto looked = gateway.ask("GET", "/v1/requests/" + header_of(like, "X-Request-Id"));
  CHECK(json::parse(looked.body).at("item") == "a/b");
}

TEST_CASE("a gateway knows the requests that another one answered, and says when it cannot ask") {
  lonely first, second, alone;
  second.open();
  net::endpoint_options how;
  how.address = "ipc://" + (second.folder / "gateway-1.sock").string();
  how.who = "gateway/1";
  auto endpoint =
      net::endpoint::open(
          how, {{wire::Kind::inspect,
                 [&second](net::request asked) { second.serving->answer_gateway(std::move(asked)); }}})
          .value();
  auto others = [&](std::uint32_t steady) {
    net::client_options asking;
    asking.service = "gateway";
    asking.addresses = {"ipc://" + (first.folder / "gateway-0.sock").string(), how.address,
                        "ipc://" + (first.folder / "gateway-2.sock").string()};
    asking.caller = "gateway/0";
    asking.connect_wait = std::chrono::milliseconds{10}; // two of them are never there
    std::shared_ptr<net::client> client = net::client::open(asking).value();
    while (!client->replica_states().at(1).connected)
      std::this_thread::yield();
    return siblings{std::move(client), 0, steady};
  };
  first.open(others(2)); // the third gateway runs under load only
  alone.open(others(3));

  auto answer = json::parse(second.ask("GET", "/v1/users/u/recommendations?n=3").body);
  auto path = "/v1/requests/" + json::value_to<std::string>(answer.at("request_id"));
  auto here = first.ask("GET", path);

  CHECK(here.status == 200);
  CHECK(here.body == second.ask("GET", path).body);
  CHECK(first.problem(first.ask("GET", "/v1/requests/none"), "not_found") == 404);
  CHECK(alone.ask("GET", path).status == 200);
  auto silent = alone.ask("GET", "/v1/requests/none");
  CHECK(alone.problem(silent, "unavailable") == 503);
  CHECK(silent.body.find("gateway/2") != std::string::npos);
}

TEST_CASE("a trace goes on where its header is right, and begins anew where it is not") {
  lonely gateway;
  gateway.open();
  auto trace_for = [&](const std::string& given) {
    return header_of(gateway.ask("GET", "/health/live", {}, {{"traceparent", given}}), "traceparent");
  };
  const std::string trace = "0af7651916cd43dd8448eb211c80319c", parent = "b7ad6b7169203331";

  CHECK(trace_for("00-" + trace + "-" + parent + "-01").substr(3, 32) == trace);
  CHECK(trace_for("cc-" + trace + "-" + parent + "-01-later").substr(3, 32) == trace);
  for (const auto& bad :
       {"ff-" + trace + "-" + parent + "-01", "00-" + trace + "-" + parent + "-01-more", trace, std::string{},
        "00-0AF7651916CD43DD8448EB211C80319C-" + parent + "-01", "00-" + trace + "-0000000000000000-01",
        "00-00000000000000000000000000000000-" + parent + "-01"}) {
    auto made = trace_for(bad);
    REQUIRE(made.size() == 55);
    CHECK(made.substr(3, 32) != trace);
    CHECK(made.substr(3, 32) != "00000000000000000000000000000000");
  }
}

TEST_CASE("keys open what their scope says, and a wrong, missing or revoked key opens nothing") {
  lonely gateway;
  auto file = gateway.folder / "api-keys.toml";
  auto reader = security::create_api_key(file, "reader", 1, 0).value();
  auto gone = security::create_api_key(file, "gone", 7, 0).value();
  REQUIRE(security::revoke_api_key(file, "gone"));
  gateway.open();
  auto with = [](const std::string& key) { return http::header_list{{"Authorization", "Bearer " + key}}; };
  auto wrong = reader;
  wrong.back() = wrong.back() == '0' ? '1' : '0';

  CHECK(gateway.serving->guarded());
  CHECK(gateway.ask("GET", "/health/live").status == 200);
  CHECK(gateway.ask("GET", "/v1/users/u/recommendations", {}, with(reader)).status == 200);
  CHECK(gateway.ask("GET", "/v1/users/u/recommendations", {}, {{"X-Api-Key", reader}}).status == 200);
  for (const auto& bad : {std::string{}, std::string{"hello"}, wrong, gone})
    CHECK(gateway.problem(gateway.ask("GET", "/v1/users/u/recommendations", {}, with(bad)), "unauthorized") ==
          401);
  CHECK(header_of(gateway.ask("GET", "/metrics"), "WWW-Authenticate") == "Bearer");
  CHECK(gateway.ask("GET", "/metrics", {}, {{"Authorization", "bearer " + reader}}).status == 200);
  CHECK(gateway.problem(gateway.ask("GET", "/metrics"), "unauthorized") == 401);
  CHECK(gateway.problem(gateway.ask("POST", "/v1/events", "{}", with(reader)), "unauthorized") == 403);
  CHECK(gateway.problem(gateway.ask("POST", "/v1/rollouts/x/abort", "", with(reader)), "unauthorized") ==
        403);
}

TEST_CASE("without keys a page that a browser got elsewhere is refused") {
  lonely gateway;
  gateway.open();

  CHECK(gateway.ask("GET", "/v1/users/u/recommendations", {}, {{"Host", "localhost:8080"}}).status == 200);
  CHECK(gateway.ask("GET", "/v1/users/u/recommendations", {}, {{"Host", "evil.example"}}).status == 403);
  CHECK(
      gateway.ask("POST", "/v1/events", "{}", {{"Host", "127.0.0.1:8080"}, {"Origin", "http://evil.example"}})
          .status == 403);
}

TEST_CASE("more requests than the rate are answered 429 with a time to come back") {
  lonely gateway;
  gateway.settings->rate = 2;
  gateway.open();
  auto last = gateway.ask("GET", "/v1/requests/x");
  for (int i = 0; i < 10 && last.status != 429; ++i)
    last = gateway.ask("GET", "/v1/requests/x");

  CHECK(gateway.problem(last, "overloaded") == 429);
  CHECK(!header_of(last, "Retry-After").empty());
  CHECK(gateway.ask("GET", "/health/live").status == 200);
}

TEST_CASE("the latency histogram sees answers of every kind") {
  lonely gateway;
  gateway.open();
  gateway.ask("GET", "/nowhere");
  gateway.ask("GET", "/v1/runs");
  gateway.ask("GET", "/v1/users/u/recommendations");

  auto text = gateway.ask("GET", "/metrics").body;
  for (const char* status : {"status=\"4xx\"", "status=\"5xx\"", "status=\"2xx\""})
    CHECK_MESSAGE(text.find(status) != std::string::npos, status);
}
