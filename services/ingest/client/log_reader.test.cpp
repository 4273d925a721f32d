#include "services/ingest/client/log_reader.hpp"

#include "schemas/ingest_generated.h"

#include <doctest/doctest.h>

#include <deque>
#include <optional>

using namespace troupe;
using namespace troupe::ingest;
using namespace std::chrono_literals;

namespace {

chunk finished(flatbuffers::FlatBufferBuilder& out) {
  return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
}

expected<net::reply> reply_of(chunk payload) {
  net::reply made;
  made.payload = std::move(payload);
  return made;
}

expected<net::reply> ends(std::vector<std::uint64_t> next) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<wire::PartitionInfo> all;
  for (std::uint32_t p = 0; p < next.size(); ++p)
    all.emplace_back(p, 0, next[p], 0, 0);
  out.Finish(wire::CreateLogInfo(out, out.CreateVectorOfStructs(all)), "TRPI");
  return reply_of(finished(out));
}

struct block {
  std::uint64_t base = 0;
  std::size_t size = 0;
};

expected<net::reply> records(std::uint32_t partition, std::vector<block> blocks, std::uint64_t end,
                             std::uint64_t log = 0) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::LogBatch>> batches;
  for (auto& each : blocks) {
    std::vector<record> list(each.size);
    auto bytes = encode_batch(std::span<const record>{list}, partition, each.base);
    out.ForceVectorAlignment(bytes.size(), 1, 8);
    auto inner = out.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    batches.push_back(wire::CreateLogBatch(out, inner));
  }
  out.Finish(wire::CreateFetchReply(out, out.CreateVector(batches), end, log), "TRPI");
  return reply_of(finished(out));
}

/// A reader, and what it asked of everybody around it.
struct reading {
  struct question {
    std::uint64_t tag;
    wire::Kind kind;
    std::uint64_t offset;
  };
  std::deque<question> asked;
  std::deque<std::pair<std::uint64_t, std::chrono::milliseconds>> waits;
  std::vector<std::uint64_t> ends_seen;
  std::vector<log_records> seen;
  std::vector<std::pair<ec, unsigned>> failures;
  int recoveries = 0;
  expected<void> worked; ///< What becomes of records that come.

  log_reader reader{{}, hooks()};

  log_reader::hooks hooks() {
    log_reader::hooks to;
    to.call = [this](std::uint64_t tag, wire::Kind kind, const chunk& payload, deadline) {
      auto offset =
          kind == wire::Kind::fetch ? flatbuffers::GetRoot<wire::Fetch>(payload.data())->offset() : 0;
      asked.push_back({tag, kind, offset});
    };
    to.wait = [this](std::uint64_t tag, std::chrono::milliseconds span) { waits.emplace_back(tag, span); };
    to.ends = [this](const std::vector<std::uint64_t>& all) {
      ends_seen = all;
      return expected<void>{};
    };
    to.records = [this](std::uint64_t, log_records found) {
      seen.push_back(std::move(found));
      return worked;
    };
    to.failing = [this](const error& why, unsigned in_a_row) { failures.emplace_back(why.code, in_a_row); };
    to.recovered = [this] { ++recoveries; };
    return to;
  }

  question next() {
    REQUIRE_FALSE(asked.empty());
    auto first = asked.front();
    asked.pop_front();
    return first;
  }
  void answer(const expected<net::reply>& reply) { reader.on_reply(next().tag, reply); }
  std::chrono::milliseconds wait_over() {
    REQUIRE_FALSE(waits.empty());
    auto [tag, span] = waits.front();
    waits.pop_front();
    reader.on_wait_over(tag);
    return span;
  }
};

} // namespace

TEST_CASE("the reader tells where the partitions end, and gives the records behind an offset") {
  reading log;

  log.reader.begin();
  CHECK(log.asked.front().kind == wire::Kind::log_info);
  log.answer(ends({5, 9}));
  log.reader.read(1, 1, 6);
  CHECK(log.asked.front().offset == 6);
  log.answer(records(1, {{2, 3}, {5, 2}, {7, 2}}, 12));

  CHECK(log.ends_seen == std::vector<std::uint64_t>{5, 9});
  REQUIRE(log.seen.size() == 1);
  CHECK(log.seen[0].batches.size() == 2); // Not the one that ends before offset 6.
  CHECK(log.seen[0].batches[0].base_offset() == 5);
  CHECK(log.seen[0].next == 9);
  CHECK(log.seen[0].log_end == 12);
  CHECK(log.asked.empty()); // Credit: the next fetch waits until these were worked off.
}

TEST_CASE("the reader asks again where nothing came, and gives nothing") {
  reading log;
  log.reader.read(1, 0, 4);

  log.answer(records(0, {}, 4));

  CHECK(log.seen.empty());
  CHECK(log.next().offset == 4);
  CHECK(log.failures.empty());
}

TEST_CASE("the reader waits longer after each failure, and says once that nothing fails any more") {
  reading log;
  log.reader.read(1, 0, 4);
  log.reader.read(2, 1, 7);

  log.answer(fail(ec::unavailable, "away"));
  log.answer(fail(ec::unavailable, "away"));
  CHECK(log.wait_over() == 100ms);
  CHECK(log.wait_over() == 100ms);
  log.answer(fail(ec::unavailable, "away"));
  CHECK(log.wait_over() == 200ms);
  CHECK(log.failures.back() == std::pair{ec::unavailable, 2u});
  log.answer(records(1, {}, 7));
  CHECK(log.recoveries == 0); // The other one still fails.
  log.asked.pop_back();       // What the healthy one asked next.
  log.answer(records(0, {{4, 1}}, 5));
  log.reader.read(1, 0, 5);

  CHECK(log.recoveries == 1);
  for (int i = 0; i < 40; ++i) {
    log.answer(fail(ec::unavailable, "away"));
    CHECK(log.wait_over() <= 2'000ms);
  }
}

TEST_CASE("the reader asks for records again that could not be worked off") {
  reading log;
  log.worked = fail(ec::disk_full, "no room");
  log.reader.read(1, 0, 4);

  log.answer(records(0, {{4, 2}}, 6));
  log.wait_over();
  CHECK(log.asked.front().offset == 4);
  log.worked = {};
  log.answer(records(0, {{4, 2}}, 6));
  log.reader.failed(1, {ec::disk_full, "found out later"});
  log.wait_over();

  CHECK(log.next().offset == 4);
  CHECK(log.failures == std::vector<std::pair<ec, unsigned>>{{ec::disk_full, 1}, {ec::disk_full, 2}});
}

TEST_CASE("the reader finds a log that was replaced, a gap, and records of another partition") {
  reading log;
  log.reader.read(1, 0, 4);

  log.answer(records(0, {}, 3));
  log.wait_over();
  log.answer(records(0, {{4, 2}, {7, 1}}, 8));
  log.wait_over();
  log.answer(records(0, {{5, 2}}, 8));
  log.wait_over();
  log.answer(records(1, {{4, 2}}, 6));
  log.wait_over();
  log.answer(reply_of(chunk::copy({})));

  CHECK(log.failures ==
        std::vector<std::pair<ec, unsigned>>{
            {ec::conflict, 1}, {ec::corrupt, 2}, {ec::corrupt, 3}, {ec::corrupt, 4}, {ec::corrupt, 5}});
  CHECK(log.seen.empty());
}

TEST_CASE("the reader finds a log that was replaced and has grown past its place since") {
  reading log;
  log.reader.read(1, 0, 4);
  log.answer(records(0, {{4, 2}}, 6, 77));
  REQUIRE(log.seen.size() == 1);
  log.reader.read(1, 0, 6);

  log.answer(records(0, {{6, 2}}, 20, 78));
  log.wait_over();

  CHECK(log.failures == std::vector<std::pair<ec, unsigned>>{{ec::conflict, 1}});
  CHECK(log.seen.size() == 1);
}

TEST_CASE("the reader drops what comes for a cursor that is not needed any more") {
  reading log;
  log.reader.read(1, 0, 4);
  log.reader.forget(1);

  log.answer(records(0, {{4, 2}}, 6));
  log.reader.on_wait_over(1);

  CHECK(log.seen.empty());
  CHECK(log.asked.empty());
}
