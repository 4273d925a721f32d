#include "services/ingest/lake.hpp"

#include "services/ingest/log/event_log.hpp"
#include "services/ingest/testing/requests.hpp"

#include "common/table/connection.hpp"
#include "common/table/parquet.hpp"
#include "common/testing/temp_dir.hpp"

#include <atomic>
#include <fstream>
#include <thread>

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
  auto trimmed = [](auto...) -> expected<fetched> { return fail(ec::not_found, "not in the log any more"); };
  CHECK(verify_segment(dir / "lake" / wrong.path, segments.front(), trimmed).has_value());
  CHECK(verify_segment(dir / "lake" / wrong.path, wrong, trimmed).error().code == ec::corrupt);
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

namespace {

/// Every record of a partition from the first ever on, as a reader sees them, and the same by column.
std::vector<record> all_of(lake& from, event_log& log, std::uint32_t partition, std::size_t max_bytes) {
  std::vector<record> found;
  for (std::uint64_t at = 0; at < log.next_offset(partition);) {
    auto page = from.fetch(partition, at, max_bytes);
    REQUIRE_MESSAGE(page, page.error().text);
    REQUIRE_FALSE(page->batches.empty());
    REQUIRE(page->next_offset == log.next_offset(partition));
    auto read =
        each_record(*page, partition, at, log.next_offset(partition), [&](auto& each) -> expected<void> {
          found.push_back(to_record(each));
          return {};
        });
    REQUIRE(read.has_value());
  }
  std::size_t looked_at = 0;
  REQUIRE(from.each_block(partition, 0, [&](const column_block& block) -> expected<bool> {
    auto ids = block.texts(block_field::id).value();
    REQUIRE(block.base_offset() == looked_at);
    for (std::size_t i = 0; i < block.size(); ++i)
      REQUIRE(ids[i] == found[looked_at++].id);
    return true;
  }) == log.next_offset(partition));
  REQUIRE(looked_at == found.size());
  return found;
}

record any_record(int i) {
  auto rec = event(i, "u" + std::to_string(i % 7));
  if (i % 3 == 0)
    rec.attributes = {{"a", 1.0 * i},
                      {"b", std::string{"x\"\n"}},
                      {"c", i % 2 == 0},
                      {"d", text_list{std::string{"p"}, std::string{}}}};
  if (i % 5 == 0)
    rec.value = i / 3.0;
  if (i % 11 == 0) {
    rec.kind = record_kind::user;
    rec.type.clear(), rec.item.clear(), rec.value.reset();
    rec.untimed = i % 2 == 0;
  }
  if (i % 13 == 0) {
    rec.kind = record_kind::slate;
    rec.item.clear(), rec.value.reset();
    rec.request_id = "r" + std::to_string(i);
    rec.shown = {{"i1", 1, 0.25}, {"i2", 2, 1.0 / 3}};
  }
  return rec;
}

} // namespace

TEST_CASE(
    "a log that is packed, sealed and trimmed reads as before, also when it was killed between the steps") {
  troupe::testing::temp_dir dir;
  std::filesystem::create_directories(dir / "0");
  std::vector<record> before;
  std::uint64_t oldest = 0;
  // Each step begins with a copy of what a kill during the step before may leave on the disk.
  for (int step = 0; step <= 6; ++step) {
    CAPTURE(step);
    auto now = dir / std::to_string(step);
    std::shared_ptr<event_log> log = event_log::open(now / "log", {.partitions = 2}).value();
    lake into{log, now / "lake", 3'000};
    if (step == 0)
      for (int i = 0; i < 20'000; i += 1000) {
        append_request request;
        for (int k = 0; k < 1000; ++k)
          request.records.push_back(any_record(i + k));
        REQUIRE(log->append(request).has_value());
      }
    auto found = all_of(into, *log, 0, 100'000);
    if (step == 0)
      before = found;
    REQUIRE(found == before);
    REQUIRE(log->state().partitions[0].first >= oldest);
    oldest = log->state().partitions[0].first;

    if (step == 1 || step == 4)
      REQUIRE(log->pack(1'000'000).has_value());
    if (step == 2)
      REQUIRE(into.seal(false).has_value());
    if (step == 3 || step == 5)
      REQUIRE(into.trim(wall_now() + std::chrono::hours{1}).has_value());
    if (step == 4)
      REQUIRE(into.seal(true).has_value());

    REQUIRE(all_of(into, *log, 0, 3'000) == before);
    auto segments = log->segments().list().value();
    for (auto& each : segments) {
      auto good = verify_segment(now / "lake" / each.path, each, [&](std::uint32_t p, std::uint64_t offset) {
        return log->fetch(p, offset, 100'000);
      });
      CHECK_MESSAGE(good.has_value(), (good ? "" : render(good.error())));
    }
    std::filesystem::copy(now, dir / std::to_string(step + 1), std::filesystem::copy_options::recursive);
  }
  CHECK(oldest > before.size() / 2);
}

TEST_CASE("files of the lake are read by several at a time, each as it is") {
  troupe::testing::temp_dir dir;
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {.partitions = 1}).value();
  append_request request;
  for (int i = 0; i < 400; ++i)
    request.records.push_back(any_record(i));
  REQUIRE(log->append(request).has_value());
  lake into{log, dir / "lake", 100};
  REQUIRE(into.seal(true).has_value());
  auto segments = log->segments().list().value();
  REQUIRE(segments.size() == 4);
  std::filesystem::rename(dir / "lake" / segments[3].path, dir / "away");

  lake_reader reader{dir / "lake", 1}; // The last one alone stays.
  std::atomic<int> good = 0, missing = 0;
  {
    std::vector<std::jthread> threads;
    for (std::size_t k = 0; k < 4; ++k)
      threads.emplace_back([&, k] {
        for (std::size_t i = 0; i < 12; ++i) {
          auto& segment = segments[(i + k / 2) % 4];
          auto found = reader.read(segment);
          if (!found)
            ++missing;
          else if (auto block = column_block::open((*found)->blocks.at(0)); block)
            good += block->base_offset() == segment.first && block->size() == 100;
        }
      });
  }
  CHECK(good == 36);
  CHECK(missing == 12);
  std::filesystem::rename(dir / "away", dir / "lake" / segments[3].path);
  CHECK(reader.read(segments[3]).has_value());
}

TEST_CASE("what a log takes on the disk stays as it is while it is appended to, sealed and trimmed") {
  troupe::testing::temp_dir dir;
  std::shared_ptr<event_log> log =
      event_log::open(dir / "log", {.partitions = 1, .write_buffer_bytes = std::size_t{1} << 20}).value();
  lake into{log, dir / "lake", 5'000};
  auto bytes = [&] {
    std::uint64_t sum = 0;
    for (auto& each : std::filesystem::recursive_directory_iterator{dir / "log"})
      if (each.path().extension() == ".sst" || each.path().extension() == ".blob")
        sum += each.file_size();
    return sum;
  };
  std::uint64_t early = 0;
  for (int round = 0; round < 24; ++round) {
    append_request request;
    for (int k = 0; k < 5'000; ++k) {
      auto rec = event(round * 5'000 + k);
      rec.request_id = to_hex(hash_wide(rec.id));
      request.records.push_back(rec);
    }
    REQUIRE(log->append(request).has_value());
    REQUIRE(log->pack(100'000).has_value());
    REQUIRE(into.seal(false).has_value());
    REQUIRE(into.trim(wall_now() + std::chrono::hours{1}).has_value());
    if (round == 7)
      early = bytes();
  }

  CHECK(log->state().partitions[0].first > 110'000);
  CHECK(bytes() < 2 * early + 2'000'000);
  CHECK(all_of(into, *log, 0, 1'000'000).size() == 120'000);
}
