#include "services/ingest/lake.hpp"

#include "services/ingest/log/event_log.hpp"
#include "services/ingest/testing/requests.hpp"

#include "common/table/connection.hpp"
#include "common/table/parquet.hpp"
#include "common/testing/temp_dir.hpp"

#include <fstream>

using namespace troupe;
using namespace troupe::ingest;
using namespace troupe::ingest::testing;

TEST_CASE("the lake reads back equal to the log, and a seal can be repeated after a crash") {
  troupe::testing::temp_dir dir;
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {}).value();
  append_request request;
  for (int i = 0; i < 5000; ++i)
    request.records.push_back(event(i, "u" + std::to_string(i % 7)));
  for (int i = 0; i < 5000; i += 100) {
    request.records[static_cast<std::size_t>(i)].kind = record_kind::user;
    request.records[static_cast<std::size_t>(i)].untimed = i % 200 == 0;
  }
  for (int i = 50; i < 5000; i += 100) {
    auto& page = request.records[static_cast<std::size_t>(i)];
    page.kind = record_kind::slate;
    page.type = "impression";
    page.item.clear();
    page.shown = {{"a", 1, 0.25}, {"it's \"b\"", 2, 1}};
    page.shown.resize(i % 200 == 50 ? 1 : 2);
  }
  REQUIRE(log->append(request).has_value());
  lake into{log, dir / "lake", 300};
  // What a crash between the file and its record leaves.
  std::filesystem::create_directories(dir / "lake/partition=3");
  std::ofstream{dir / "lake/partition=3/00000000000000000000-00000000000000000017.parquet"} << "half";

  REQUIRE(into.seal(false).has_value());
  auto full = log->segments().list().value();
  auto sealed = into.seal(true);
  REQUIRE_MESSAGE(sealed.has_value(), (sealed ? "" : render(sealed.error())));
  REQUIRE(into.seal(true).has_value());

  auto segments = log->segments().list().value();
  auto fetch = [&](std::uint32_t p, std::uint64_t offset) { return log->fetch(p, offset, 1000); };
  std::uint64_t records = 0;
  for (auto& each : segments) {
    auto equal = verify_segment(dir / "lake" / each.path, each, fetch);
    CHECK_MESSAGE(equal.has_value(), (equal ? "" : render(equal.error())));
    records += each.next - each.first;
  }
  CHECK(records == 5000);
  CHECK(full.size() < segments.size());
  CHECK_FALSE(
      std::filesystem::exists(dir / "lake/partition=3/00000000000000000000-00000000000000000017.parquet") ==
      (log->next_offset(3) > 0));
  auto wrong = segments.front();
  wrong.next -= 1;
  CHECK(verify_segment(dir / "lake" / wrong.path, wrong, fetch).error().code == ec::corrupt);
}

TEST_CASE("a page of a log that grew is read to where it was asked about; a hole is found, not passed over") {
  troupe::testing::temp_dir dir;
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {.partitions = 1}).value();
  for (int i = 0; i < 5; ++i) { // A block each.
    append_request request;
    request.records.push_back(event(i, "u"));
    REQUIRE(log->append(request).has_value());
  }
  auto page = log->fetch(0, 1, 1'000'000).value();
  REQUIRE(page.batches.size() == 4);
  std::vector<std::uint64_t> seen;
  std::uint64_t offset = 1;
  auto note = [&](auto&&) -> expected<void> {
    seen.push_back(offset);
    return {};
  };
  REQUIRE(each_record(page, 0, offset, 3, note).has_value());
  CHECK(seen == std::vector<std::uint64_t>{1, 2});
  CHECK(offset == 3);
  page.batches.erase(page.batches.begin() + 2); // That of offset 3.
  auto hole = each_record(page, 0, offset = 1, 5, note);
  REQUIRE_FALSE(hole.has_value());
  CHECK(hole.error().code == ec::corrupt);
  CHECK(offset == 3);
  CHECK(each_record(page, 1, offset = 1, 5, note).error().code == ec::corrupt); // Another partition.
}

TEST_CASE("what a slate shows is a column of the lake that SQL unnests, and is verified") {
  troupe::testing::temp_dir dir;
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {.partitions = 1}).value();
  append_request request;
  for (int i = 0; i < 3; ++i) {
    auto page = event(i);
    page.kind = record_kind::slate;
    page.type = "impression";
    page.item.clear();
    for (int k = 0; k <= i; ++k)
      page.shown.push_back({"i" + std::to_string(k), static_cast<std::uint32_t>(k + 1), 0.5});
    request.records.push_back(page);
  }
  request.records.push_back(event(3));
  REQUIRE(log->append(request).has_value());
  lake into{log, dir / "lake", 300};
  REQUIRE(into.seal(true).has_value());
  auto segment = log->segments().list().value().front();
  auto file = table::parquet_file(dir / "lake" / segment.path);

  auto db = table::connection::open().value();
  auto one = [&](const std::string& sql) { return db.integer(sql).value().value_or(-1); };
  CHECK(one("SELECT count(*) FROM (SELECT unnest(shown) AS s FROM " + file + ")") == 6);
  CHECK(one("SELECT max(s.position) FROM (SELECT unnest(shown) AS s FROM " + file + ")") == 3);
  CHECK(one("SELECT count(*) FROM " + file + " WHERE shown IS NULL") == 1);
  auto other = request;
  other.records[1].shown[0].propensity = 0.25;
  std::shared_ptr<event_log> wrong = event_log::open(dir / "wrong", {.partitions = 1}).value();
  REQUIRE(wrong->append(other).has_value());
  auto fetch = [&](std::uint32_t p, std::uint64_t offset) { return wrong->fetch(p, offset, 1'000'000); };
  auto differs = verify_segment(dir / "lake" / segment.path, segment, fetch);
  REQUIRE_FALSE(differs.has_value());
  CHECK(differs.error().code == ec::corrupt);
}
