#include "tests/support/http_caller.hpp"
#include "tests/support/input.hpp"
#include "tests/support/known_release.hpp"

using namespace troupe::testing;

namespace {

constexpr int few_items = 20;

constexpr auto shop_tables = R"(
name = "shop"
[[file]]
pattern = "orders.csv"
  [[file.record]]
  kind = "event"
  id = { column = "id" }
  type = { constant = "purchase" }
  user = "customer"
  item = "sku"
  event_time = { column = "at", format = "rfc3339" }
[[file]]
pattern = "products.csv"
  [[file.record]]
  kind = "item"
  id = { column = "id" }
  item = "id"
    [file.record.attributes]
    title = "title"
    hidden = { column = "hidden", optional = true }
[[file]]
pattern = "customers.csv"
  [[file.record]]
  kind = "user"
  id = { column = "id" }
  user = "id"
    [file.record.attributes]
    age = { column = "age", type = "number" }
)";

std::string best_of(const json& answer) {
  auto& items = answer.at("items").as_array();
  return items.empty() ? "none" : text(items[0], "item");
}

} // namespace

TEST_CASE("one meaning at every door: a record is the whole of an item, flags are flags, three tables count "
          "from 1") {
  fleet services{"scenario-one-meaning", quick_rollouts};
  configure(services, "serving");
  services.up();
  std::vector<float> scores(few_items);
  for (int i = 0; i < few_items; ++i)
    scores[static_cast<std::size_t>(i)] = static_cast<float>(i);
  popularity_release(services, "rising", scores);
  services.ask({"rollouts", "start", "--release", "rising"});
  caller http{services};
  auto page = [&] { return http.good("GET", "/v1/users/nobody/recommendations?n=3"); };
  auto best = "i" + std::to_string(few_items - 1), second = "i" + std::to_string(few_items - 2);
  REQUIRE(
      wait_until([&] { return page().at("degraded").as_array().empty() && best_of(page()) == best; }, 30s));
  auto put = [&](const std::string& body) {
    http.headers = {};
    auto wrote = http.good("PUT", "/v1/items/" + best, body);
    http.headers = {{"X-Consistency-Token", text(wrote, "token")}};
  };

  // Hidden by whatever says so, shown again by a record that does not.
  for (auto* hidden : {"true", "1", "\"true\"", "\"YES\""}) {
    put(fmt::format(R"({{"attributes":{{"title":"Heat","hidden":{}}}}})", hidden));
    CHECK_MESSAGE(best_of(page()) == second, hidden);
    put(R"({"attributes":{"title":"Heat"}})");
    CHECK_MESSAGE(best_of(page()) == best, hidden);
  }
  http.headers = {};
  CHECK(http.bad("PUT", "/v1/items/" + best, R"({"attributes":{"hidden":"soon"}})") == 400);
  CHECK(http.bad("PUT", "/v1/items/" + best, R"({"attributes":{"a":1,"a":2}})") == 400);
  CHECK(best_of(page()) == best);
  auto folder = services.temp();
  write_file(folder / "shop.toml", shop_tables);
  auto mapping = (folder / "shop.toml").string();
  write_file(folder / "products.csv", "id,title,hidden\n" + best + ",Heat,yes\n" + second + ",Ronin,soon\n");
  auto hidden = ingest(services, folder / "products.csv", mapping);
  CHECK(number(hidden, "items_added") == 1);
  CHECK(number(hidden, "quarantined") == 1);
  CHECK(wait_until([&] { return best_of(page()) == second; }, 20s));
  write_file(folder / "shown.jsonl", "\xef\xbb\xbf{\"kind\":\"item\",\"item\":\"" + best +
                                         "\",\"attributes\":{\"title\":\"Heat\"}}\n");
  ingest(services, folder / "shown.jsonl");
  CHECK(wait_until([&] { return best_of(page()) == best; }, 20s));
  CHECK(http.good("GET", "/v1/items/" + best).at("attributes") == boost::json::parse(R"({"title":"Heat"})"));

  // Order 1, product 1 and customer 1.
  auto tables = folder / "shop";
  std::filesystem::create_directories(tables);
  write_file(tables / "orders.csv",
             "id,customer,sku,at\n1,1,1,2024-03-01\n2,2,1,2024-03-02\n3,3,2,2024-03-03\n");
  write_file(tables / "products.csv", "id,title\n1,One\n2,Two\n3,Three\n");
  write_file(tables / "customers.csv", "id,age\n1,31\n2,32\n3,33\n");
  for (auto* each : {"orders.csv", "products.csv", "customers.csv"}) {
    auto taken = ingest(services, tables / each, mapping);
    CHECK(number(taken, "events_added") + number(taken, "items_added") + number(taken, "users_added") == 3);
    CHECK(number(taken, "quarantined") == 0);
    CHECK(number(ingest(services, tables / each, mapping), "duplicates") == 3);
  }
  CHECK(wait_until([&] { return http.ask("GET", "/v1/users/1").status == 200; }, 10s));
  CHECK(http.good("GET", "/v1/users/1").at("attributes") == boost::json::parse(R"({"age":31})"));
  CHECK(http.good("GET", "/v1/items/1").at("attributes") == boost::json::parse(R"({"title":"One"})"));

  // Names: digits as they are written; what is none is refused before an impression bears it.
  auto sent = http.good(
      "POST", "/v1/events",
      "\xef\xbb\xbf[{\"id\":99999999999999999999,\"type\":\"click\",\"user\":7,\"item\":1},"
      "{\"type\":\"click\",\"user\":[7],\"item\":1},{\"type\":\"click\",\"user\":1e17,\"item\":1}]");
  CHECK(text(sent.at("rows").at(0), "id") == "99999999999999999999");
  CHECK(text(sent.at("rows").at(0), "outcome") == "added");
  CHECK(text(sent.at("rows").at(1), "outcome") == "invalid");
  CHECK(text(sent.at("rows").at(2), "outcome") == "invalid");
  auto refused = number(services.ask({"quarantine", "list"}), "total");
  for (auto* path : {"/v1/users/a%0Ab/recommendations", "/v1/users/a%0Ab", "/v1/items/a%00/similar",
                     "/v1/items/%7F", "/v1/users/u/recommendations?exclude=a%0Ab"})
    CHECK_MESSAGE(http.bad("GET", path) == 400, path);
  for (auto* method : {"PUT", "DELETE"})
    CHECK(http.bad(method, "/v1/items/a%0Ab", "{}") == 400);
  CHECK(http.bad("POST", "/v1/recommendations", R"({"user":"a\nb"})") == 400);
  CHECK(number(services.ask({"quarantine", "list"}), "total") == refused);

  // What could never be released is not registered.
  auto models = popularity_model(services, "odd", scores);
  for (auto* name : {"../x", "x=0.5", "x:1"})
    CHECK_FALSE(services.troupe({"models", "register", models.string(), "--name", name}).code == 0);
  CHECK(services.down());
}
