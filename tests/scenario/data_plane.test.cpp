#include "tests/support/input.hpp"

#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>

using namespace troupe::testing;

namespace {

/// The content hash that a training set's manifest states.
std::string content_hash(const std::filesystem::path& folder) {
  auto text = read_file(folder / "manifest.json");
  auto at = text.find("sha256");
  REQUIRE_MESSAGE(at != std::string::npos, "no sha256 in ", folder.string(), "/manifest.json");
  return text.substr(at, 100);
}

constexpr auto click_training = R"(
name = "clicks"
features = ["user_activity.click_rate_30d", "user_activity.impressions_7d", "item_activity.click_rate"]
[labels]
event = "click"
)";

constexpr auto rating_training = R"(
name = "ratings"
features = ["user_ratings.mean_rating", "user_ratings.ratings_30d", "item_ratings.mean_rating"]
[labels]
event = "rating"
)";

void build_twice(const fleet& services, const std::string& specification) {
  auto spec = services.temp() / "spec.toml";
  write_file(spec, specification);
  std::string hashes[2];
  for (auto& hash : hashes) {
    auto out = services.temp() / ("training" + std::to_string(&hash - hashes));
    auto built = services.ask({"training-set", "build", spec.string(), "--out", out.string()}, 300s);
    CHECK(number(built, "rows") > 0);
    services.ask({"training-set", "verify", out.string()});
    hash = content_hash(out);
    auto kept = services.ask({"training-set", "list"}).at("training_sets");
    services.ask({"training-set", "remove", std::string{kept.at(0).at("name").as_string()}});
  }
  CHECK(hashes[0] == hashes[1]);
}

void import_twice(const fleet& services, const std::filesystem::path& path, const std::string& mapping,
                  std::int64_t events, std::int64_t users, std::int64_t items) {
  auto first = ingest(services, path, mapping);
  CHECK(number(first, "events_added") == events);
  CHECK(number(first, "users_added") == users);
  CHECK(number(first, "items_added") == items);
  CHECK(number(first, "quarantined") == 0);

  auto second = ingest(services, path, mapping);
  CHECK(number(second, "events_added") == 0);
  CHECK(number(second, "users_added") == 0);
  CHECK(number(second, "items_added") == 0);

  auto log = services.ask({"log", "info"});
  CHECK(number(log, "events") == events);
  CHECK(number(log, "users") == users);
  CHECK(number(log, "items") == items);
}

void lake_is_equal(const fleet& services) {
  services.ask({"lake", "seal"}, 300s);
  services.ask({"lake", "verify"}, 300s);
}

/// Features of some entities are there as of the newest event.
void features_are_served(const fleet& services, const std::string& features,
                         const std::vector<std::string>& users) {
  std::vector<std::string> words{"features",   "get",    "--at",     "watermark",
                                 "--features", features, "--entity", "user"};
  words.insert(words.end(), users.begin(), users.end());
  auto there = [&] {
    return boost::json::serialize(services.ask(words)).find("present") != std::string::npos;
  };
  CHECK(wait_until(there, 60s));
}

} // namespace

TEST_CASE("a generated world goes all the way, and its copies in other formats add nothing") {
  fleet services{"scenario-generated"};
  configure(services, "interactions");
  auto world = services.temp() / "world";
  auto made = generate(services, world, 50'000, {"--format", "jsonl.gz", "--seed", "11"});
  CHECK(number(made, "events") == 50'000);
  services.up();

  import_twice(services, world, "", 50'000, 2'000, 500);
  for (std::string format : {"parquet", "jsonl.zst", "jsonl"}) {
    auto copy = services.temp() / format;
    generate(services, copy, 50'000, {"--format", format, "--seed", "11"});
    auto again = ingest(services, copy);
    CHECK_MESSAGE(number(again, "events_added") == 0, format);
    CHECK_MESSAGE(number(again, "duplicates") == 52'500, format);
    CHECK_MESSAGE(number(again, "quarantined") == 0, format);
  }
  lake_is_equal(services);
  features_are_served(services, "user_activity.impressions_7d,user_activity.recent_clicks",
                      {"u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"});
  build_twice(services, click_training);
  CHECK(services.ready_now());
  CHECK(services.down());

  // What was there is there after a restart.
  services.up();
  CHECK(number(services.ask({"log", "info"}), "events") == 50'000);
  CHECK(services.down());
}

TEST_CASE("MovieLens 100K: 100,000 ratings, 1,682 items, 943 users, and nothing the second time") {
  auto data = data_set("ml-100k");
  if (!data)
    return;
  fleet services{"scenario-movielens"};
  configure(services, "ratings", "movielens");
  services.up();

  import_twice(services, *data, "movielens-100k", 100'000, 943, 1'682);
  lake_is_equal(services);
  features_are_served(services, "user_ratings.mean_rating", {"1", "2", "3"});
  build_twice(services, rating_training);
  CHECK(services.down());
}

TEST_CASE("MovieTweetings: 100,000 ratings and 10,506 items") {
  auto data = data_set("movietweetings-100k");
  if (!data)
    return;
  fleet services{"scenario-movietweetings"};
  configure(services, "ratings", "movietweetings");
  services.up();

  import_twice(services, *data, "movietweetings", 100'000, 0, 10'506);
  lake_is_equal(services);
  features_are_served(services, "user_ratings.mean_rating", {"1", "2", "3"});
  CHECK(services.down());
}

TEST_CASE("Open Bandit: 40,000 impressions") {
  auto data = data_set("obd-small");
  if (!data)
    return;
  fleet services{"scenario-open-bandit"};
  configure(services, "interactions", "open_bandit");
  services.up();

  auto first = ingest(services, *data, "open-bandit");
  CHECK(number(first, "quarantined") == 0);
  auto added = number(first, "events_added");
  CHECK(added >= 40'000); // And their clicks.
  CHECK(number(ingest(services, *data, "open-bandit"), "events_added") == 0);
  CHECK(number(services.ask({"log", "info"}), "events") == added);
  lake_is_equal(services);
  CHECK(services.down());
}
