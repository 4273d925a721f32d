#include "services/feature_store/log_stream.hpp"

#include "common/net/payload.hpp"

#include "schemas/ingest_generated.h"

#include <thread>

namespace troupe::feature_store {

namespace {

using namespace std::chrono_literals;

} // namespace

expected<net::reply> log_stream::ask(wire::Kind kind, const chunk& payload) {
  auto give_up = deadline::in(patience_);
  for (;;) {
    auto got = log_->call(kind, payload, deadline::in(10s));
    if (got || give_up.passed() || remedy_of(got.error().code) != remedy::retry_later)
      return got;
    std::this_thread::sleep_for(200ms);
  }
}

expected<std::vector<std::uint64_t>> log_stream::ends() {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateLogInfoQuery(out), "TRPI");
  TROUPE_TRY(got, ask(wire::Kind::log_info, net::bytes_of(out)));
  TROUPE_TRY(info, net::read_as<wire::LogInfo>(got.payload, "TRPI", "LogInfo"));
  std::vector<std::uint64_t> ends;
  if (info->partitions())
    for (auto* each : *info->partitions()) {
      if (each->partition() > 65'536)
        return fail(ec::corrupt, "the log names partition {}", each->partition());
      ends.resize(std::max<std::size_t>(ends.size(), each->partition() + std::size_t{1}));
      ends[each->partition()] = each->next_offset();
    }
  return ends;
}

expected<std::vector<batch>> log_stream::read(std::uint32_t partition, std::uint64_t offset,
                                              std::uint32_t max_bytes) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateFetch(out, partition, offset, max_bytes, 0), "TRPI");
  TROUPE_TRY(got, ask(wire::Kind::fetch, net::bytes_of(out)));
  TROUPE_TRY(reply, net::read_as<wire::FetchReply>(got.payload, "TRPI", "FetchReply"));
  std::vector<batch> batches;
  if (reply->batches())
    for (auto* each : *reply->batches()) {
      if (!each->batch())
        continue;
      auto opened = batch::open(
          chunk::copy({reinterpret_cast<const std::byte*>(each->batch()->data()), each->batch()->size()}));
      if (!opened)
        return unexpected<error>{std::move(opened).error()};
      batches.push_back(std::move(*opened));
    }
  return batches;
}

} // namespace troupe::feature_store
