#include "services/gateway/store/idempotency_store.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

const auto now = from_micros(1'700'000'000'000'000);

/// A database whose calls are counted.
struct counted {
  std::shared_ptr<store::database> database;
  int reads = 0, writes = 0;

  idempotency_store::key_values calls() {
    return {[this](std::span<const std::string_view> ids) {
              ++reads;
              return database->find_many(row_times, ids);
            },
            [this](store::write_batch& batch) {
              ++writes;
              return database->write(batch, store::durability::buffered);
            }};
  }
};

} // namespace

TEST_CASE("ten thousand rows are one read and one write, sent again one read and the same times") {
  testing::temp_dir folder;
  counted calls{open_state_database(folder / "state").value()};
  idempotency_store times{calls.calls()};
  std::vector<std::string> ids;
  for (int i = 0; i < 10'000; ++i)
    ids.push_back("e:" + std::to_string(i));
  std::vector<std::string_view> views(ids.begin(), ids.end());

  auto first = times.first_times(views, now);
  CHECK(calls.reads == 1);
  CHECK(calls.writes == 1);
  auto again = times.first_times(views, now + 1h);

  CHECK(calls.reads == 2);
  CHECK(calls.writes == 1);
  CHECK(first == std::vector<timestamp>(10'000, now));
  CHECK(again == first);
}

TEST_CASE("a row has the time of when it was first seen, also after a reopening, for a day") {
  testing::temp_dir folder;
  std::vector<std::string_view> old{"a", "b", "a"}, mixed{"c", "a"};
  {
    idempotency_store times{open_state_database(folder / "state").value()};
    CHECK(times.first_times(old, now) == std::vector<timestamp>{now, now, now});
  }

  auto database = open_state_database(folder / "state").value();
  idempotency_store times{database};
  CHECK(times.first_times(mixed, now + 1h) == std::vector<timestamp>{now + 1h, now});
  REQUIRE(forget_expired(*database, now + 24h + 1s));
  CHECK(times.first_times(mixed, now + 25h) == std::vector<timestamp>{now + 1h, now + 25h});
}

TEST_CASE("where the store cannot be read rows are as new") {
  idempotency_store times{
      {[](std::span<const std::string_view>) -> expected<std::vector<std::optional<std::string>>> {
         return fail(ec::io_failed, "the disk is gone");
       },
       [](store::write_batch&) -> expected<void> { return {}; }}};
  std::vector<std::string_view> ids{"a"};
  CHECK(times.first_times(ids, now) == std::vector<timestamp>{now});
}
