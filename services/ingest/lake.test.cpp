#include "services/ingest/lake.hpp"

#include "services/ingest/log/event_log.hpp"
#include "services/ingest/testing/requests.hpp"

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
