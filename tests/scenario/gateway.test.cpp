#include "tests/support/http_caller.hpp"

#include <signal.h>

#include <algorithm>

using namespace troupe::testing;

namespace {

constexpr auto item_card = R"(
[[view]]
name = "item_card"
entity = "item"

[[view.feature]]
name = "title"
operator = "attribute"
of = "attribute.title"
)";

std::string click(int user, int item, const std::string& id) {
  return R"({"id":")" + id + R"(","type":"click","user":"u)" + std::to_string(user) + R"(","item":"i)" +
         std::to_string(item) + R"(","event_time":"2026-01-01T00:00:00Z"})";
}

} // namespace

TEST_CASE("over HTTP events become durable, items come back, answers are degraded and explained") {
  fleet services{"scenario-gateway"};
  write_file(services.data() / "views" / "item_card.toml", item_card);
  services.up();
  caller http{services};

  // Events: a verdict per row, and the same body again adds nothing.
  auto body =
      "[" + click(1, 1, "e1") + "," + click(2, 1, "e2") + R"(,{"type":"click"},)" + click(3, 2, "e3") + "]";
  auto first = http.good("POST", "/v1/events", body);
  CHECK(number(first, "added") == 3);
  CHECK(number(first, "refused") == 1);
  auto again = http.good("POST", "/v1/events", body);
  CHECK(number(again, "added") == 0);
  CHECK(number(again, "duplicate") == 3);
  CHECK(number(services.ask({"log", "info"}), "events") == 3);

  // Items: written, read back, deleted, revived.
  CHECK(number(http.good("PUT", "/v1/items/i1", R"({"attributes":{"title":"Heat"}})"), "added") == 1);
  auto titled = [&](const char* title) {
    auto got = http.ask("GET", "/v1/items/i1");
    return got.status == 200 && got.body.find(title) != std::string::npos;
  };
  CHECK(wait_until([&] { return titled("Heat"); }, 20s));
  CHECK(number(http.good("DELETE", "/v1/items/i1"), "added") == 1);
  CHECK(wait_until([&] { return http.ask("GET", "/v1/items/i1").status == 404; }, 20s));
  CHECK(number(http.good("PUT", "/v1/items/i1", R"({"attributes":{"title":"Ronin"}})"), "added") == 1);
  CHECK(wait_until([&] { return titled("Ronin"); }, 20s));
  // With the token of a write a read needs no patience.
  for (const char* title : {"Thief", "Collateral", "Blackhat"}) {
    auto wrote =
        http.good("PUT", "/v1/items/i1", std::string{R"({"attributes":{"title":")"} + title + "\"}}");
    http.headers = {{"X-Consistency-Token", boost::json::value_to<std::string>(wrote.at("token"))}};
    CHECK(titled(title));
  }
  http.headers = {};
  CHECK(number(http.good("POST", "/v1/items", R"([{"item":"i2","attributes":{"title":"Ran"}}])"), "added") ==
        1);
  CHECK(http.bad("GET", "/v1/items/nowhere") == 404);

  // Recommendations without a ranker: what callers used, flagged, explained, and in the log exactly once.
  json answer;
  CHECK(wait_until(
      [&] {
        answer = http.good("GET", "/v1/users/u9/recommendations?n=2");
        return !answer.at("items").as_array().empty();
      },
      60s));
  CHECK(!answer.at("degraded").as_array().empty());
  auto id = boost::json::value_to<std::string>(answer.at("request_id"));
  auto inspected = http.good("GET", "/v1/requests/" + id);
  CHECK(inspected.at("request_id") == answer.at("request_id"));
  // Three events and the slate: a page is one record, however many items it has.
  CHECK(wait_until([&] { return number(services.ask({"log", "info"}), "events") == 4; }, 20s));
  CHECK(services.troupe({"recommend", "u9", "--n", "2"}).out.find("degraded:") != std::string::npos);
  CHECK(services.troupe({"explain", id}).out.find(id) != std::string::npos);

  // Ingest killed: refused for a moment, impressions wait, nothing acknowledged is lost.
  auto events = number(services.ask({"log", "info"}), "events");
  ::kill(*services.pid_of("ingest"), SIGKILL);
  auto during = http.good("GET", "/v1/users/u9/recommendations?n=2");
  CHECK(!during.at("items").as_array().empty());
  CHECK(wait_until([&] { return http.ask("POST", "/v1/events", click(5, 2, "e9")).status == 200; }, 60s));
  REQUIRE(services.ready());
  CHECK(wait_until([&] { return number(services.ask({"log", "info"}), "events") >= events + 2; }, 30s));

  // The gateway killed: its requests and the queue outlive it.
  ::kill(*services.pid_of("gateway"), SIGKILL);
  CHECK(wait_until([&] { return services.ready_now(); }, 60s));
  caller after{services};
  CHECK(after.good("GET", "/v1/requests/" + id).at("request_id") == answer.at("request_id"));

  CHECK(after.good("GET", "/v1/releases").at("releases").as_array().empty());
  CHECK(!after.good("GET", "/v1/items/i1/similar").at("degraded").as_array().empty());
  CHECK(services.troupe({"similar", "i1"}).out.find("degraded:") != std::string::npos);
  CHECK(after.good("GET", "/openapi.json").as_object().contains("paths"));
  CHECK(after.ask("GET", "/metrics").body.find("troupe_gateway_request_seconds") != std::string::npos);
  CHECK(services.down());
}

TEST_CASE("visitors ask, look, click and tell, the same ones each time") {
  fleet services{"scenario-visit"};
  write_file(services.data() / "views" / "item_card.toml", item_card);
  services.up();
  caller http{services};
  std::string body = "[";
  for (int i = 0; i < 10; ++i)
    body += (i == 0 ? "" : ",") + click(i, i, "seed" + std::to_string(i));
  http.good("POST", "/v1/events", body + "]");
  CHECK(wait_until(
      [&] { return !http.good("GET", "/v1/users/u9/recommendations").at("items").as_array().empty(); }, 60s));

  auto seen = services.ask({"simulate", "--visits", "200", "--users", "100", "--items", "50", "--seed", "3"});

  CHECK(number(seen, "failed") == 0);
  CHECK(number(seen, "degraded") == 200);
  REQUIRE(seen.at("arms").as_array().size() == 1);
  const auto& arm = seen.at("arms").at(0);
  CHECK(arm.at("low").as_double() <= arm.at("click_rate").as_double());
  CHECK(number(arm, "impressions") == 200 * 5);
  CHECK(number(arm, "clicks") > 0);
  CHECK(services.down());
}
