#include "tests/support/http_caller.hpp"
#include "tests/support/known_release.hpp"
#include "tests/support/world.hpp"

#include <algorithm>
#include <iostream>

using namespace troupe::testing;
using clock_type = std::chrono::steady_clock;

namespace {

const bool guarded = (end_after(150s), true);

constexpr int items = 100;

std::string first_item(const json& answer) {
  return std::string{answer.at("items").at(0).at("item").as_string()};
}

std::string click(const std::string& user, const std::string& item, int number) {
  return R"([{"id":")" + user + std::to_string(number) + R"(","type":"click","user":")" + user +
         R"(","item":")" + item + R"(","event_time":"2027-01-01T00:00:00Z"}])";
}

std::string median_ms(std::vector<clock_type::duration> spans) {
  std::ranges::sort(spans);
  return std::to_string(std::chrono::duration<double, std::milli>(spans[spans.size() / 2]).count()) +
         " ms, longest " + std::to_string(std::chrono::duration<double, std::milli>(spans.back()).count()) +
         " ms";
}

} // namespace

TEST_CASE("a click changes the next answer: at once with the token of the write, else a moment later") {
  fleet services{"scenario-http-own-writes",
                 "[deployer.settings]\nanalysis_interval = \"100ms\"\nsettle = \"200ms\"\n"};
  configure(services, "serving");
  services.up();
  std::vector<float> scores(items);
  for (int i = 0; i < items; ++i)
    scores[static_cast<std::size_t>(i)] = static_cast<float>(i);
  popularity_release(services, "rising", scores);
  services.ask({"rollouts", "start", "--release", "rising"});
  caller http{services};
  auto page = [&](const std::string& user) {
    return http.good("GET", "/v1/users/" + user + "/recommendations?n=3");
  };
  REQUIRE(wait_until([&] { return page("nobody").at("degraded").as_array().empty(); }, 30s));

  std::vector<clock_type::duration> with_token, without;
  for (int i = 0; i < 30; ++i) {
    auto best = first_item(page("careful"));
    auto began = clock_type::now();
    auto wrote = http.good("POST", "/v1/events", click("careful", best, i));
    http.headers = {{"X-Consistency-Token", boost::json::value_to<std::string>(wrote.at("token"))}};
    auto next = page("careful");
    with_token.push_back(clock_type::now() - began);
    http.headers = {};
    CHECK(next.at("degraded").as_array().empty());
    CHECK(first_item(next) == "i" + std::to_string(items - 2 - i));
  }
  for (int i = 0; i < 5; ++i) {
    auto best = first_item(page("patient"));
    auto began = clock_type::now();
    http.good("POST", "/v1/events", click("patient", best, i));
    CHECK(wait_until([&] { return first_item(page("patient")) != best; }, 20s));
    without.push_back(clock_type::now() - began);
  }

  std::cout << "from the click to an answer that knows it: with the token " << median_ms(with_token)
            << "; without, asked every 50 ms, " << median_ms(without) << '\n';
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
  fleet services{"scenario-http-deleted",
                 "[deployer.settings]\njudge_interval = \"100ms\"\nsettle = \"200ms\"\n"};
  configure(services, "serving");
  services.up();
  std::vector<float> scores(items);
  for (int i = 0; i < items; ++i)
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
  auto best = "i" + std::to_string(items - 1), second = "i" + std::to_string(items - 2);

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
