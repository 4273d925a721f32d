#include "services/trainer/snapshot.hpp"

#include "common/table/connection.hpp"
#include "common/testing/temp_dir.hpp"

#include <boost/json/array.hpp>
#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::trainer;

namespace {

std::vector<record> some_events() {
  std::vector<record> all;
  for (int i = 0; i < 1000; ++i) {
    record each;
    each.id = "e" + std::to_string(i);
    each.type = i % 10 == 0 ? "view" : "rating";
    each.user = "u" + std::to_string(i % 37);
    each.item = "i" + std::to_string(i % 11);
    each.event_time = from_micros(1'000'000 + (i * 7919) % 1000);
    if (i % 2 == 0)
      each.value = i / 2.0;
    all.push_back(each);
  }
  return all;
}

} // namespace

TEST_CASE("a snapshot holds the wanted events in order of time, with the same bytes for the same offsets") {
  troupe::testing::temp_dir dir;
  auto events = some_events();
  ingest::memory_stream log{events, 4, 100};
  snapshot_options options;
  options.event_types = {"rating"};

  auto first = take_snapshot(log, dir / "first.parquet", options);
  REQUIRE_MESSAGE(first, (first ? std::string{} : render(first.error())));
  for (auto& each : first->at("offsets").get_array())
    options.offsets.push_back(each.to_number<std::uint64_t>());
  auto later = events;
  later.insert(later.end(), events.begin(), events.end());
  ingest::memory_stream grown{later, 4, 70};
  auto second = take_snapshot(grown, dir / "second.parquet", options);

  REQUIRE(second);
  CHECK(first->at("rows").to_number<int>() == 900);
  CHECK(first->at("sha256") == second->at("sha256"));
  auto db = *table::connection::open();
  auto sorted =
      db.integer("SELECT count(*) FROM (SELECT event_time < lag(event_time) OVER () AS back FROM '" +
                 (dir / "first.parquet").string() + "') WHERE back");
  REQUIRE(sorted);
  CHECK(**sorted == 0);
}

TEST_CASE(
    "the bytes of a snapshot are those of every version before, also where it does not fit into memory") {
  troupe::testing::temp_dir dir;
  snapshot_options options;
  options.event_types = {"rating"};
  for (std::uint64_t memory : {std::uint64_t{1} << 29, std::uint64_t{40'000}, std::uint64_t{12'000}}) {
    CAPTURE(memory);
    options.memory_bytes = memory;
    ingest::memory_stream log{some_events(), 4, 100};
    auto made = take_snapshot(log, dir / "snapshot.parquet", options);
    REQUIRE_MESSAGE(made, (made ? std::string{} : render(made.error())));
    CHECK(made->at("sha256").as_string() ==
          "8e7ee3b026bb0b22178c2542237ecf3fba16c3597180f386b2c94830141d4078");
  }
}

TEST_CASE("impressions are no interactions unless they are asked for") {
  troupe::testing::temp_dir dir;
  auto events = some_events();
  for (std::size_t i = 0; i < events.size(); i += 4)
    events[i].type = "impression";
  ingest::memory_stream log{events, 1};

  snapshot_options named;
  named.event_types = {"impression"};

  auto standard = take_snapshot(log, dir / "standard.parquet", {});
  auto asked = take_snapshot(log, dir / "asked.parquet", named);

  REQUIRE((standard && asked));
  CHECK(standard->at("rows").to_number<int>() == 750);
  CHECK(asked->at("rows").to_number<int>() == 250);
}

TEST_CASE(
    "each item that a slate shows is an interaction where impressions are asked for, and none elsewhere") {
  troupe::testing::temp_dir dir;
  auto events = some_events();
  for (std::size_t i = 0; i < events.size(); i += 10) {
    events[i].kind = record_kind::slate;
    events[i].type = "impression";
    events[i].shown = {{"a", 1, 1}, {"b", 2, 1}, {i == 0 ? "c\n" : "c", 3, 1}};
    events[i].item.clear();
    events[i].value.reset();
    events[i].attributes = {{"arm", std::string{i % 20 == 0 ? "canary" : "production"}}};
  }
  ingest::memory_stream log{events, 3};
  snapshot_options named;
  named.event_types = {"impression"};
  auto without = named;
  without.exclude_arms = {"canary"};

  auto standard = take_snapshot(log, dir / "standard.parquet", {});
  auto asked = take_snapshot(log, dir / "asked.parquet", named);
  auto apart = take_snapshot(log, dir / "apart.parquet", without);

  REQUIRE((standard && asked && apart));
  CHECK(standard->at("rows").to_number<int>() == 900);
  CHECK(asked->at("rows").to_number<int>() == 299);
  CHECK(asked->at("dropped_events").to_number<int>() == 1);
  CHECK(apart->at("rows").to_number<int>() == 150);
}

TEST_CASE("a snapshot of offsets that the log does not have fails") {
  troupe::testing::temp_dir dir;
  auto events = some_events();
  ingest::memory_stream log{events, 1};
  snapshot_options options;
  options.offsets = {1001};

  auto taken = take_snapshot(log, dir / "data.parquet", options);

  REQUIRE(!taken);
  CHECK(taken.error().code == ec::not_found);
}

TEST_CASE("events that no vocabulary can name are dropped from a snapshot and counted") {
  troupe::testing::temp_dir dir;
  auto events = some_events();
  events[3].user = "u\n3";
  events[4].item = "i\t4";
  events[10].item = "i\n10"; // a view: not wanted, so not dropped either
  ingest::memory_stream log{events, 2};
  snapshot_options options;
  options.event_types = {"rating"};

  auto taken = take_snapshot(log, dir / "data.parquet", options);

  REQUIRE(taken);
  CHECK(taken->at("rows").to_number<int>() == 898);
  CHECK(taken->at("dropped_events").to_number<int>() == 2);
}

TEST_CASE("events of an excluded arm are left out of a snapshot, those of no arm and of others are not") {
  troupe::testing::temp_dir dir;
  auto events = some_events();
  for (std::size_t i = 0; i < events.size(); ++i)
    if (i % 5 != 0)
      events[i].attributes = {{"arm", std::string{i % 2 == 0 ? "control" : "candidate"}}};
  ingest::memory_stream log{events, 2};
  snapshot_options options;
  options.exclude_arms = {"candidate", "other"};

  auto taken = take_snapshot(log, dir / "data.parquet", options);

  REQUIRE(taken);
  CHECK(taken->at("rows").to_number<int>() == 600);
}
