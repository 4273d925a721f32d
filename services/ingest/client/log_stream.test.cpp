#include "services/ingest/client/log_stream.hpp"

#include "common/net/testing/peers.hpp"

#include "schemas/ingest_generated.h"

using namespace troupe;
using namespace troupe::ingest;
using namespace troupe::net::testing;

namespace {

chunk finished(flatbuffers::FlatBufferBuilder& out) {
  return chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()});
}

/// A log of one partition with so many records, each fetch of which gives one block of two.
net::handler_map log_of(std::uint64_t size) {
  net::handler_map handlers;
  handlers[wire::Kind::log_info] = [size](net::request asked) {
    flatbuffers::FlatBufferBuilder out;
    std::vector<wire::PartitionInfo> all{{0, 0, size, 0, 0}};
    out.Finish(wire::CreateLogInfo(out, out.CreateVectorOfStructs(all)), "TRPI");
    asked.respond.reply(finished(out));
  };
  handlers[wire::Kind::fetch] = [size](net::request asked) {
    auto offset = flatbuffers::GetRoot<wire::Fetch>(asked.payload.data())->offset();
    flatbuffers::FlatBufferBuilder out;
    std::vector<flatbuffers::Offset<wire::LogBatch>> batches;
    if (offset < size) {
      std::vector<record> list(2);
      auto bytes = encode_batch(std::span<const record>{list}, 0, offset);
      auto inner = out.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
      batches.push_back(wire::CreateLogBatch(out, inner));
    }
    out.Finish(wire::CreateFetchReply(out, out.CreateVector(batches), size), "TRPI");
    asked.respond.reply(finished(out));
  };
  return handlers;
}

} // namespace

TEST_CASE("the stream reads the log of a service, and finds one that was replaced") {
  troupe::testing::temp_dir dir;
  auto service = net::endpoint::open(at(ipc(dir)), log_of(6)).value();
  log_stream log{std::shared_ptr<net::client>{net::client::open(towards({ipc(dir)})).value()}};

  CHECK(log.ends().value() == std::vector<std::uint64_t>{6});
  auto found = log.read(0, 4, 1 << 20);
  REQUIRE_MESSAGE(found, found.error().text);
  REQUIRE(found->size() == 1);
  CHECK(found->front().base_offset() == 4);
  CHECK(log.read(0, 6, 1 << 20)->empty());
  auto replaced = log.read(0, 7, 1 << 20);

  REQUIRE_FALSE(replaced);
  CHECK(replaced.error().code == ec::conflict);
}
