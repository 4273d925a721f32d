#include "services/gateway/journal.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <future>

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

journal_entry entry_of(const std::string& request, int impressions) {
  journal_entry out{request, {}, R"({"request_id":")" + request + "\"}"};
  for (int i = 1; i <= impressions; ++i) {
    record made;
    made.id = fmt::format("imp:{}:{}", request, i);
    made.type = "impression";
    made.user = "u";
    made.item = "i";
    made.event_time = from_micros(1'700'000'000'000'000);
    out.impressions.push_back(std::move(made));
  }
  return out;
}

bool keep(journal& into, journal_entry entry) {
  std::promise<bool> kept;
  into.keep(std::move(entry), [&](bool good) { kept.set_value(good); });
  return kept.get_future().get();
}

/// A log that is away until it is told to be there.
struct fake_log {
  std::mutex mutex;
  std::condition_variable changed;
  bool there = false;
  std::vector<std::string> ids;

  journal::sender sender() {
    return [this](const std::vector<record>& records) -> expected<std::uint64_t> {
      std::lock_guard lock{mutex};
      if (!there)
        return fail(ec::unavailable, "the log is away");
      for (const auto& each : records)
        ids.push_back(each.id);
      changed.notify_all();
      return 0;
    };
  }
  bool has(std::size_t count) {
    std::unique_lock lock{mutex};
    return changed.wait_for(lock, 10s, [&] { return ids.size() >= count; });
  }
};

} // namespace

TEST_CASE("impressions that were kept while the log was away reach it after a reopening, in order and once") {
  testing::temp_dir folder;
  fake_log log;
  {
    auto opened = journal::open(folder / "state", {}, log.sender()).value();
    CHECK(keep(*opened, entry_of("r1", 2)));
    CHECK(keep(*opened, entry_of("r2", 1)));
    CHECK(opened->counters().waiting == 2);
  }
  CHECK(log.ids.empty());
  log.there = true;

  {
    auto again = journal::open(folder / "state", {}, log.sender()).value();
    CHECK(log.has(3));
    CHECK(keep(*again, entry_of("r3", 1)));
    CHECK(log.has(4));
    again->stop();
    CHECK(again->counters().waiting == 0);
  }
  {
    auto third = journal::open(folder / "state", {}, log.sender()).value();
    CHECK(keep(*third, entry_of("r4", 1)));
    CHECK(log.has(5));
  }

  CHECK(log.ids == std::vector<std::string>{"imp:r1:1", "imp:r1:2", "imp:r2:1", "imp:r3:1", "imp:r4:1"});
}

TEST_CASE("a full journal says that impressions were not kept, and keeps the inspection") {
  testing::temp_dir folder;
  fake_log log;
  auto opened = journal::open(folder / "state", {.most_answers = 1}, log.sender()).value();

  CHECK(keep(*opened, entry_of("r1", 1)));
  CHECK(!keep(*opened, entry_of("r2", 1)));
  CHECK(keep(*opened, entry_of("r3", 0)));

  CHECK(opened->counters().dropped == 1);
  CHECK(opened->inspect("r2").value());
}

TEST_CASE("requests, facts and first times outlive a reopening, and requests end after their time") {
  testing::temp_dir folder;
  fake_log log;
  auto first = from_micros(1'700'000'000'000'000);
  {
    auto opened = journal::open(folder / "state", {}, log.sender()).value();
    keep(*opened, entry_of("r1", 0));
    CHECK(opened->set_fact("routing", "table"));
    CHECK(opened->first_time("row", first) == first);
  }

  auto again = journal::open(folder / "state", {}, log.sender()).value();
  CHECK(again->inspect("r1").value() == R"({"request_id":"r1"})");
  CHECK(!again->inspect("r9").value());
  CHECK(again->fact("routing").value() == "table");
  CHECK(again->first_time("row", first + 1h) == first);
  CHECK(again->expire(wall_now() + 2h));
  CHECK(!again->inspect("r1").value());
}

TEST_CASE("a stopped journal keeps nothing and says so") {
  testing::temp_dir folder;
  fake_log log;
  auto opened = journal::open(folder / "state", {}, log.sender()).value();
  opened->stop();
  CHECK(!keep(*opened, entry_of("r1", 1)));
}
