#include "tests/support/http_caller.hpp"
#include "tests/support/input.hpp"
#include "tests/support/known_release.hpp"

using namespace troupe::testing;

namespace {

constexpr int rising_items = 100;

std::string first_item(const json& answer) {
  return std::string{answer.at("items").at(0).at("item").as_string()};
}

std::string click(const std::string& user, const std::string& item, int number) {
  return R"([{"id":")" + user + std::to_string(number) + R"(","type":"click","user":")" + user +
         R"(","item":")" + item + R"(","event_time":"2027-01-01T00:00:00Z"}])";
}

} // namespace

TEST_CASE("a click changes the next answer: at once with the token of the write, else a moment later") {
  fleet services{"scenario-http-own-writes", quick_rollouts};
  configure(services, "serving");
  services.up();
  std::vector<float> scores(rising_items);
  for (int i = 0; i < rising_items; ++i)
    scores[static_cast<std::size_t>(i)] = static_cast<float>(i);
  popularity_release(services, "rising", scores);
  services.ask({"rollouts", "start", "--release", "rising"});
  caller http{services};
  auto page = [&](const std::string& user) {
    return http.good("GET", "/v1/users/" + user + "/recommendations?n=3");
  };
  REQUIRE(wait_until([&] { return page("nobody").at("degraded").as_array().empty(); }, 30s));

  for (int i = 0; i < 30; ++i) {
    auto best = first_item(page("careful"));
    auto wrote = http.good("POST", "/v1/events", click("careful", best, i));
    http.headers = {{"X-Consistency-Token", boost::json::value_to<std::string>(wrote.at("token"))}};
    auto next = page("careful");
    http.headers = {};
    CHECK(next.at("degraded").as_array().empty());
    CHECK(first_item(next) == "i" + std::to_string(rising_items - 2 - i));
  }
  for (int i = 0; i < 5; ++i) {
    auto best = first_item(page("patient"));
    http.good("POST", "/v1/events", click("patient", best, i));
    CHECK(wait_until([&] { return first_item(page("patient")) != best; }, 5s));
  }

  auto inspected =
      http.good("GET", "/v1/requests/" + std::string{page("careful").at("request_id").as_string()});
  CHECK(inspected.at("stages").as_array().size() > 3);
  CHECK(!inspected.at("features").as_array().empty());
  CHECK(inspected.at("arm").as_string() == "production");
  auto similar = http.good("GET", "/v1/items/i5/similar?n=3");
  CHECK(similar.at("release") == inspected.at("release"));
  CHECK(services.down());
}

TEST_CASE(
    "over HTTP all attributes come back, a deleted user is a stranger and a deleted item is shown no more") {
  fleet services{"scenario-http-deleted", quick_rollouts};
  configure(services, "serving");
  services.up();
  std::vector<float> scores(rising_items);
  for (int i = 0; i < rising_items; ++i)
    scores[static_cast<std::size_t>(i)] = static_cast<float>(i);
  popularity_release(services, "rising", scores);
  services.ask({"rollouts", "start", "--release", "rising"});
  caller http{services};
  auto page = [&](const std::string& user) {
    return http.good("GET", "/v1/users/" + user + "/recommendations?n=3");
  };
  REQUIRE(wait_until([&] { return page("nobody").at("degraded").as_array().empty(); }, 30s));
  // From here on every request carries the token of the write before it.
  auto write = [&](const std::string& method, const std::string& path, const std::string& body = {}) {
    http.headers = {};
    auto wrote = http.good(method, path, body);
    http.headers = {{"X-Consistency-Token", boost::json::value_to<std::string>(wrote.at("token"))}};
  };
  auto best = "i" + std::to_string(rising_items - 1), second = "i" + std::to_string(rising_items - 2);

  // Attributes that no view names, of every kind.
  write("PUT", "/v1/users/anna",
        R"({"attributes":{"city":"Turin","age":41,"member":true,"likes":["jazz","go"]}})");
  CHECK(http.good("GET", "/v1/users/anna").at("attributes") ==
        boost::json::parse(R"({"age":41,"city":"Turin","likes":["jazz","go"],"member":true})"));
  CHECK(http.bad("GET", "/v1/users/nobody") == 404);
  write("PUT", "/v1/users/anna", R"({"attributes":{"city":"Oslo"}})");
  CHECK(http.good("GET", "/v1/users/anna").at("attributes") == boost::json::parse(R"({"city":"Oslo"})"));

  write("POST", "/v1/events", click("anna", best, 0));
  CHECK(first_item(page("anna")) == second);
  write("DELETE", "/v1/users/anna");
  CHECK(http.bad("GET", "/v1/users/anna") == 404);
  CHECK(first_item(page("anna")) == best); // No history.
  auto explained = http.good("GET", "/v1/users/anna/recommendations?explain=1");
  auto inspected = http.good("GET", "/v1/requests/" + std::string{explained.at("request_id").as_string()});
  REQUIRE(!inspected.at("features").as_array().empty());
  for (auto& each : inspected.at("features").as_array())
    CHECK(each.at("status").as_string() == "missing");
  write("PUT", "/v1/users/anna", R"({"attributes":{"city":"Rome"}})");
  CHECK(http.good("GET", "/v1/users/anna").at("attributes") == boost::json::parse(R"({"city":"Rome"})"));
  CHECK(first_item(page("anna")) == second);

  write("PUT", "/v1/items/" + best, R"({"attributes":{"title":"Heat","year":1995}})");
  CHECK(http.good("GET", "/v1/items/" + best).at("attributes") ==
        boost::json::parse(R"({"title":"Heat","year":1995})"));
  write("DELETE", "/v1/items/" + best);
  CHECK(http.bad("GET", "/v1/items/" + best) == 404);
  CHECK(http.bad("GET", "/v1/items/" + best + "/similar") == 404);
  CHECK(first_item(page("nobody")) == second);
  // Without the token too, when rankers have heard of it.
  http.headers = {};
  CHECK(wait_until([&] { return first_item(page("nobody")) == second; }, 20s));
  CHECK(wait_until([&] { return http.ask("GET", "/v1/items/" + best + "/similar").status == 404; }, 20s));
  write("PUT", "/v1/items/" + best, R"({"attributes":{"title":"Ronin"}})");
  http.headers = {};
  CHECK(wait_until([&] { return first_item(page("nobody")) == best; }, 20s));
  CHECK(services.down());
}
