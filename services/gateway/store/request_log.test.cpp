#include "services/gateway/store/request_log.hpp"

#include "services/gateway/store/gateway_state.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

void write(store::database& into, const std::vector<store_row>& rows) {
  store::write_batch batch;
  for (const auto& each : rows)
    batch.put(each.of, each.key, each.value);
  REQUIRE(into.write(batch, store::durability::buffered));
}

} // namespace

TEST_CASE("a request is known at once, after a reopening, and no longer when its time is over") {
  testing::temp_dir folder;
  auto now = from_micros(1'700'000'000'000'000);
  {
    auto database = open_state_database(folder / "state").value();
    request_log log{database, {.recent = 1, .ttl = 1h}};
    auto first = log.put("r1", "one", now);
    CHECK(log.get("r1").value() == "one");
    write(*database, first);
    write(*database, log.put("r2", "two", now + 30min));
    CHECK(log.get("r1").value() == "one"); // No longer in memory.
  }

  auto database = open_state_database(folder / "state").value();
  request_log log{database, {.recent = 0, .ttl = 1h}};
  CHECK(log.get("r2").value() == "two");
  CHECK(!log.get("r9").value());
  REQUIRE(forget_expired(*database, now + 61min));
  CHECK(!log.get("r1").value());
  CHECK(log.get("r2").value() == "two");
}

TEST_CASE("values of the gateway outlive a reopening, and several change together") {
  testing::temp_dir folder;
  {
    gateway_state state{open_state_database(folder / "state").value()};
    CHECK(!state.get_state("routing").value());
    REQUIRE(state.put_state({{"routing", "table"}, {"report", "bytes"}}));
    REQUIRE(state.put_state({{"report", ""}, {"report-number", "7"}}));
  }

  gateway_state state{open_state_database(folder / "state").value()};
  CHECK(state.get_state("routing").value() == "table");
  CHECK(state.get_state("report").value() == "");
  CHECK(state.get_state("report-number").value() == "7");
}
