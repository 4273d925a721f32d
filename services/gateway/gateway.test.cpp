#include "services/gateway/handlers/inspect.hpp"
#include "services/gateway/http/admission.hpp"
#include "services/gateway/http/routes.hpp"
#include "services/gateway/test_gateway.hpp"

#include "common/security/api_keys.hpp"

#include <set>

using namespace troupe;
using namespace troupe::gateway;
namespace json = boost::json;

namespace {

/// A gateway with nothing behind it.
struct lonely : served_gateway {
  lonely() {
    nobody = true;
    open();
  }
};

} // namespace

TEST_CASE("the OpenAPI document lists every route with method, scope, parameters and problems") {
  for (bool keys : {false, true}) {
    auto text = openapi(keys);
    auto document = json::parse(text);
    std::size_t count = 0;
    std::set<std::string> ids;

    for (const auto& each : routes()) {
      std::string method = each.method;
      for (auto& c : method)
        c = static_cast<char>(std::tolower(c));
      const auto& entry = document.at("paths").at(each.pattern).at(method).as_object();
      const auto& responses = entry.at("responses").as_object();
      CHECK(responses.contains("default"));
      CHECK(responses.contains("401") == (keys && each.scope != 0));
      CHECK(entry.contains("security") == (keys && each.scope == 0));
      CHECK(entry.contains("x-scope") == (each.scope != 0));
      CHECK(entry.contains("requestBody") == (each.body != nullptr));
      CHECK(entry.at("parameters").as_array().size() ==
            words_in(each.headers).size() + words_in(each.parameters).size() +
                static_cast<std::size_t>(std::ranges::count(std::string_view{each.pattern}, '{')));
      CHECK(ids.insert(json::value_to<std::string>(entry.at("operationId"))).second);
      ++count;
    }

    CHECK(count == routes().size());
    CHECK(document.as_object().contains("security") == keys);
    CHECK(document.at("paths").as_object().size() > 15);
    for (auto at = text.find("#/components/schemas/"); at != std::string::npos;
         at = text.find("#/components/schemas/", at + 1)) {
      auto name = text.substr(at + 21, text.find('"', at) - at - 21);
      CHECK_MESSAGE(document.at("components").at("schemas").as_object().contains(name), name);
    }
  }
}

TEST_CASE("wrong addresses, methods and bodies are answered by problem documents") {
  lonely gateway;

  CHECK(problem_of(gateway.ask("GET", "/nowhere"), "not_found") == 404);
  auto other = gateway.ask("DELETE", "/v1/events");
  CHECK(problem_of(other, "invalid_argument") == 405);
  CHECK(header_of(other, "Allow") == "POST, OPTIONS");
  CHECK(problem_of(gateway.ask("POST", "/v1/recommendations", "{"), "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("GET", "/v1/users/u/recommendations?n=0"), "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("GET", "/v1/users/u/recommendations?n=%zz"), "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("GET", "/v1/requests/none"), "not_found") == 404);
  CHECK(problem_of(gateway.ask("GET", "/v1/runs"), "unavailable") == 503);
  CHECK(problem_of(gateway.ask("GET", "/v1/items/i/similar?n=x"), "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("GET", "/v1/users/u/recommendations?explain=maybe"), "invalid_argument") ==
        400);
  CHECK(problem_of(gateway.ask("GET", "/v1/users/%ff%fe/recommendations"), "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("GET", "/v1/users/%4/recommendations"), "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("GET", "/v1/items/" + std::string(1'025, 'x')), "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("HEAD", "/v1/users/u/recommendations"), "invalid_argument") == 405);
  for (const char* bad : {"", "0", "60001", "5s"})
    CHECK(problem_of(gateway.ask("GET", "/v1/users/u/recommendations", {}, {{"X-Deadline-Ms", bad}}),
                     "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("GET", "/v1/users/u", {}, {{"X-Consistency-Token", "1"}}),
                   "invalid_argument") == 400);
  CHECK(problem_of(gateway.ask("POST", "/v1/events", "x", {{"Content-Encoding", "gzip"}}),
                   "invalid_argument") == 415);
  CHECK(problem_of(gateway.ask("POST", "/v1/events", R"({"type":"click","user":"u","item":"i"})"),
                   "unavailable") == 503);
}

TEST_CASE("OPTIONS says what an address, or the gateway, can be asked, and 405 says the same") {
  lonely gateway;
  auto allowed = [&](const std::string& path) {
    auto given = gateway.ask("OPTIONS", path);
    CHECK(given.status == 204);
    CHECK(given.body.empty());
    return header_of(given, "Allow");
  };

  CHECK(allowed("*") == "GET, HEAD, POST, PUT, DELETE, OPTIONS");
  CHECK(allowed("/v1/items/i") == "PUT, GET, HEAD, DELETE, OPTIONS");
  CHECK(allowed("/v1/users/u/recommendations") == "GET, OPTIONS"); // HEAD would be an impression nobody had.
  CHECK(header_of(gateway.ask("HEAD", "/v1/users/u/recommendations"), "Allow") == "GET, OPTIONS");
  CHECK(header_of(gateway.ask("PATCH", "/v1/items/i"), "Allow") == allowed("/v1/items/i"));
  CHECK(problem_of(gateway.ask("OPTIONS", "/v1/nowhere"), "not_found") == 404);
}

TEST_CASE("a query parameter that there is not, and one that is given twice, is refused by its name") {
  lonely gateway;
  auto refusal = [&](const std::string& path, http::header_list headers = {}) {
    auto given = gateway.ask("GET", path, {}, std::move(headers));
    CHECK(problem_of(given, "invalid_argument") == 400);
    return json::value_to<std::string>(json::parse(given.body).at("detail"));
  };

  CHECK(refusal("/v1/users/u/recommendations?N=3") ==
        "there is no query parameter 'N' here, only n, explain, exclude, filter");
  CHECK(refusal("/v1/items/i/similar?explain=1") ==
        "there is no query parameter 'explain' here, only n, exclude, filter");
  CHECK(refusal("/v1/items/i?n=1") == "there is no query parameter 'n' here, nor any other");
  CHECK(refusal("/v1/users/u/recommendations?exclude[]=a") ==
        "there is no query parameter 'exclude[]' here, only n, explain, exclude, filter");
  CHECK(refusal("/v1/users/u/recommendations?n=3&n=3") == "the query parameter 'n' is given more than once");
  CHECK(refusal("/v1/users/u/recommendations?n=3&%6e=3") ==
        "the query parameter 'n' is given more than once");
  for (const auto& each : routes())
    if (std::string_view{each.method} == "GET") {
      std::string path = each.pattern;
      for (auto at = path.find('{'); at != std::string::npos; at = path.find('{'))
        path.replace(at, path.find('}') - at + 1, "x");
      CHECK(refusal(path + "?colour=red").starts_with("there is no query parameter 'colour' here"));
    }
  CHECK(gateway.ask("GET", "/v1/users/u/recommendations?exclude=a&exclude=b&n=3&&").status == 200);
  for (const char* name : {"X-Consistency-Token", "X-Deadline-Ms", "Authorization", "X-Api-Key"})
    CHECK(refusal("/v1/users/u/recommendations", {{name, "1"}, {name, "1"}}) ==
          fmt::format("the header {} is given more than once", name));
}

TEST_CASE("a client that waits with its body hears before it why nobody wants it") {
  served_gateway gateway;
  gateway.nobody = true;
  gateway.settings->max_in_flight = 1;
  auto key = security::create_api_key(gateway.folder / "api-keys.toml", "writer", 2, 0).value();
  gateway.open();
  auto asked = [&](const std::string& method, const std::string& path, http::header_list headers = {}) {
    headers.emplace_back("Authorization", "Bearer " + key);
    auto refused = refuse_before_body(gateway.deps, request_of(method, path, {}, std::move(headers)));
    return refused ? refused->status : 0;
  };

  CHECK(asked("POST", "/v1/events") == 0);
  CHECK(asked("POST", "/v1/nowhere") == 404);
  CHECK(asked("PUT", "/v1/events") == 405);
  CHECK(asked("POST", "/v1/events?n=1") == 400);
  CHECK(asked("POST", "/v1/events", {{"Content-Encoding", "gzip"}}) == 415);
  CHECK(asked("POST", "/v1/recommendations") == 403);
  key = "wrong";
  CHECK(asked("POST", "/v1/events") == 401);
  CHECK(gateway.deps->in_flight == 0);
}

TEST_CASE("without anything behind it the gateway answers, says that it is degraded, and can explain it") {
  lonely gateway;

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
  lonely second;
  auto answer = json::parse(second.ask("GET", "/v1/users/u/recommendations?n=3").body);
  auto path = "/v1/requests/" + text_of(answer.at("request_id"));
  auto in_fleet_of_three = [&](served_gateway& gateway, std::uint32_t steady) {
    gateway.nobody = true;
    gateway.peers = {gateway.gateways.behind(3), 0, steady};
    gateway.open();
  };
  // The second gateway looks into what it keeps, the third is not there.
  auto ask = [&](served_gateway& gateway, const std::string& where) {
    auto later = gateway.ask_later(request_of("GET", where));
    for (int i = 0; i < 2; ++i) {
      auto question = gateway.gateways.next();
      if (question.replica == 2)
        question.fail(ec::unavailable, "nobody is there");
      else {
        net::request asked;
        asked.payload = question.payload;
        asked.respond = net::responder::to(question.as_responder());
        answer_inspection(*second.deps, std::move(asked));
      }
    }
    return later.get();
  };
  served_gateway first, alone;
  in_fleet_of_three(first, 2); // The third runs under load only.
  in_fleet_of_three(alone, 3);

  auto here = ask(first, path);

  CHECK(here.status == 200);
  CHECK(here.body == second.ask("GET", path).body);
  CHECK(problem_of(ask(first, "/v1/requests/none"), "not_found") == 404);
  CHECK(ask(alone, path).status == 200);
  auto silent = ask(alone, "/v1/requests/none");
  CHECK(problem_of(silent, "unavailable") == 503);
  CHECK(silent.body.find("gateway/2") != std::string::npos);
}

TEST_CASE("a trace goes on where its header is right, and begins anew where it is not") {
  lonely gateway;
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
  served_gateway gateway;
  gateway.nobody = true;
  auto file = gateway.folder / "api-keys.toml";
  auto reader = security::create_api_key(file, "reader", 1, 0).value();
  auto gone = security::create_api_key(file, "gone", 7, 0).value();
  REQUIRE(security::revoke_api_key(file, "gone"));
  gateway.open();
  auto with = [](const std::string& key) { return http::header_list{{"Authorization", "Bearer " + key}}; };
  auto wrong = reader;
  wrong.back() = wrong.back() == '0' ? '1' : '0';

  CHECK(gateway.deps->keys->guarded());
  CHECK(gateway.ask("GET", "/health/live").status == 200);
  CHECK(gateway.ask("GET", "/v1/users/u/recommendations", {}, with(reader)).status == 200);
  CHECK(gateway.ask("GET", "/v1/users/u/recommendations", {}, {{"X-Api-Key", reader}}).status == 200);
  for (const auto& bad : {std::string{}, std::string{"hello"}, wrong, gone})
    CHECK(problem_of(gateway.ask("GET", "/v1/users/u/recommendations", {}, with(bad)), "unauthorized") ==
          401);
  CHECK(header_of(gateway.ask("GET", "/metrics"), "WWW-Authenticate") == "Bearer");
  CHECK(gateway.ask("GET", "/metrics", {}, {{"Authorization", "bearer " + reader}}).status == 200);
  CHECK(problem_of(gateway.ask("GET", "/metrics"), "unauthorized") == 401);
  CHECK(problem_of(gateway.ask("POST", "/v1/events", "{}", with(reader)), "unauthorized") == 403);
  CHECK(problem_of(gateway.ask("POST", "/v1/rollouts/x/abort", "", with(reader)), "unauthorized") == 403);
}

TEST_CASE("without keys a page that a browser got elsewhere is refused") {
  lonely gateway;

  CHECK(gateway.ask("GET", "/v1/users/u/recommendations", {}, {{"Host", "localhost:8080"}}).status == 200);
  CHECK(gateway.ask("GET", "/v1/users/u/recommendations", {}, {{"Host", "evil.example"}}).status == 403);
  CHECK(
      gateway.ask("POST", "/v1/events", "{}", {{"Host", "127.0.0.1:8080"}, {"Origin", "http://evil.example"}})
          .status == 403);
}

TEST_CASE("more requests than the rate are answered 429 with a time to come back") {
  lonely gateway;
  gateway.settings->rate = 2;
  auto last = gateway.ask("GET", "/v1/requests/x");
  for (int i = 0; i < 10 && last.status != 429; ++i)
    last = gateway.ask("GET", "/v1/requests/x");

  CHECK(problem_of(last, "overloaded") == 429);
  CHECK(!header_of(last, "Retry-After").empty());
  CHECK(gateway.ask("GET", "/health/live").status == 200);
}

TEST_CASE("the latency histogram counts every answer once, by route, kind of status and arm") {
  served_gateway gateway;
  gateway.nobody = true;
  gateway.open();
  gateway.route({{"production", "r1", 1}});
  gateway.ask("GET", "/nowhere");
  gateway.ask("GET", "/v1/runs");
  for (int i = 0; i < 3; ++i)
    gateway.ask("GET", "/v1/users/u/recommendations");

  auto text = gateway.ask("GET", "/metrics").body;
  auto count = [&](const std::string& arm, const std::string& route, const std::string& status) {
    auto series = "troupe_gateway_request_seconds_count{arm=\"" + arm + "\",route=\"" + route +
                  "\",status=\"" + status + "\"} ";
    auto at = text.find(series);
    return at == std::string::npos ? 0 : std::stoi(text.substr(at + series.size()));
  };

  CHECK(count("", "none", "4xx") == 1);
  CHECK(count("", "GET /v1/runs", "5xx") == 1);
  CHECK(count("production", "GET /v1/users/{id}/recommendations", "2xx") == 3);
  std::size_t series = 0;
  for (auto at = text.find("troupe_gateway_request_seconds_count"); at != std::string::npos;
       at = text.find("troupe_gateway_request_seconds_count", at + 1))
    ++series;
  CHECK(series == 3);
}

TEST_CASE("the root says what this is and where to go, to programs and to browsers") {
  lonely gateway;

  auto program = gateway.ask("GET", "/");
  auto browser = gateway.ask("GET", "/", {}, {{"Accept", "text/html,application/xhtml+xml"}});

  REQUIRE(program.status == 200);
  auto read = json::parse(program.body);
  CHECK(text_of(read.at("service")) == "troupe-gateway");
  auto known = json::parse(openapi(false)).at("paths").as_object();
  for (const auto& each : read.at("paths").as_object())
    CHECK(known.contains(each.key()));
  CHECK(browser.status == 200);
  CHECK(browser.content_type.starts_with("text/html"));
  CHECK(browser.body.find("href=\"/openapi.json\"") != std::string::npos);
}
