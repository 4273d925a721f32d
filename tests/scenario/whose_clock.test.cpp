#include "tests/support/http_caller.hpp"
#include "tests/support/input.hpp"

#include "common/core/time.hpp"

using namespace troupe::testing;

namespace {

constexpr auto pre_orders = R"(
[[schema]]
kind = "item"
max_ahead = "3650d"
)";

constexpr auto small = R"(
name = "small"
[[file]]
pattern = "small_items*.csv"
  [[file.record]]
  kind = "item"
  item = "item"
    [file.record.attributes]
    title = "title"
[[file]]
pattern = "events*.csv"
  [[file.record]]
  kind = "event"
  type = { constant = "purchase" }
  user = "customer"
  item = "sku"
  event_time = { column = "bought_at", format = "auto" }
)";

/// An hour and a half from now: too far ahead for whatever says nothing of it.
std::string soon() {
  return troupe::to_rfc3339(troupe::wall_now() + std::chrono::minutes{90});
}

} // namespace

TEST_CASE(
    "whose clock: what is dated ahead can be deleted and written again, tonight's file wins, and no event "
    "comes from the future") {
  fleet services{"scenario-whose-clock"};
  configure(services, "serving");
  write_file(services.data() / "schemas" / "s.toml", pre_orders);
  services.up();
  caller http{services};
  // From here on every request carries the token of the write before it.
  auto write = [&](const std::string& method, const std::string& path, const std::string& body = {}) {
    http.headers = {};
    auto wrote = http.good(method, path, body);
    CHECK(wrote.at("added") == 1);
    http.headers = {{"X-Consistency-Token", boost::json::value_to<std::string>(wrote.at("token"))}};
  };
  auto title = [&](const std::string& item) {
    auto got = http.ask("GET", "/v1/items/" + item);
    return got.status == 200 ? text(boost::json::parse(got.body).at("attributes"), "title")
                             : std::to_string(got.status);
  };

  // An item of 2030, in a catalogue that has such.
  auto of_2030 = [](const std::string& name) {
    return R"({"attributes":{"title":")" + name + R"("},"event_time":")" +
           troupe::to_rfc3339(troupe::wall_now() + std::chrono::days{1'000}) + R"("})";
  };
  write("PUT", "/v1/items/f1", of_2030("Preorder"));
  CHECK(title("f1") == "Preorder");
  write("DELETE", "/v1/items/f1");
  CHECK(title("f1") == "404");
  write("PUT", "/v1/items/f1", R"({"attributes":{"title":"Back"}})");
  CHECK(title("f1") == "Back");
  write("PUT", "/v1/items/f1", of_2030("A clock that is wrong"));
  CHECK(title("f1") == "A clock that is wrong");
  write("PUT", "/v1/items/f1", R"({"attributes":{"title":"A clock that is right"}})");
  CHECK(title("f1") == "A clock that is right");

  // Files of items without a time, and a PUT between them.
  http.headers = {};
  auto folder = services.temp();
  write_file(folder / "small.toml", small);
  write_file(folder / "small_items.csv", "item,title\ni5,Title 5\ni7,Title 7\n");
  write_file(folder / "small_items_tonight.csv", "item,title\ni5,Five from tonights file\n");
  auto mapping = (folder / "small.toml").string();
  CHECK(number(ingest(services, folder / "small_items.csv", mapping), "items_added") == 2);
  CHECK(wait_until([&] { return title("i5") == "Title 5"; }, 10s));
  write("PUT", "/v1/items/i5", R"({"attributes":{"title":"Five by hand"}})");
  CHECK(title("i5") == "Five by hand");
  http.headers = {};
  CHECK(number(ingest(services, folder / "small_items_tonight.csv", mapping), "items_added") == 1);
  CHECK(wait_until([&] { return title("i5") == "Five from tonights file"; }, 10s));
  CHECK(title("i7") == "Title 7");
  CHECK(number(ingest(services, folder / "small_items.csv", mapping), "duplicates") == 2);
  CHECK(title("i5") == "Five from tonights file");

  // Times of every size; and one that has not come yet, at every door.
  write_file(folder / "events.csv",
             "customer,sku,bought_at\nc1,s1,1709294400\nc2,s2,1709294400000\nc3,s3,"
             "1709294400000000\nc4,s4,2024-03-01T12:00:00Z\nc5,s5,1709294400.5\nc6,s6," +
                 soon() + "\n");
  auto events = ingest(services, folder / "events.csv", mapping);
  CHECK(number(events, "events_added") == 5);
  CHECK(number(events, "quarantined") == 1);
  auto sent =
      http.good("POST", "/v1/events",
                R"([{"id":"n1","type":"click","user":"u","item":"i","event_time":")" + soon() +
                    R"("},{"id":"n2","type":"click","user":"u","item":"i","event_time":1709294400.5}])");
  CHECK(text(sent.at("rows").at(0), "rule") == "max_ahead");
  CHECK(text(sent.at("rows").at(1), "outcome") == "added");
  CHECK(number(services.ask({"quarantine", "replay"}), "refused") == 2);
  auto refused = services.ask({"quarantine", "list"});
  REQUIRE(refused.at("rows").as_array().size() == 2);
  for (auto& row : refused.at("rows").as_array())
    CHECK(text(row, "rule") == "max_ahead");
  auto log = services.ask({"log", "info"});
  for (auto& each : log.at("partitions").as_array())
    if (auto mark = text(each, "watermark"); mark != "-")
      CHECK_MESSAGE(mark.starts_with("2024-03-01T12:00:00"), mark);
  CHECK(services.down());
}
