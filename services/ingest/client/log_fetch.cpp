#include "services/ingest/client/log_fetch.hpp"

#include "common/net/payload.hpp"

#include "schemas/ingest_generated.h"

#include <algorithm>

namespace troupe::ingest {

namespace {

constexpr std::uint32_t most_partitions = 65'536;

/// A nested batch with the message around it as its owner; copied only where it does not lie on 8 bytes.
chunk nested(const chunk& payload, const flatbuffers::Vector<std::uint8_t>& bytes) {
  auto* raw = reinterpret_cast<const std::byte*>(bytes.data());
  if (reinterpret_cast<std::uintptr_t>(raw) % 8 != 0)
    return chunk::copy({raw, bytes.size()});
  return payload.part(static_cast<std::size_t>(raw - payload.data()), bytes.size());
}

} // namespace

chunk log_info_query() {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateLogInfoQuery(out), "TRPI");
  return net::bytes_of(out);
}

expected<std::vector<std::uint64_t>> read_log_ends(const chunk& payload) {
  TROUPE_TRY(info, net::read_as<wire::LogInfo>(payload, "TRPI", "LogInfo"));
  if (!info->partitions() || info->partitions()->size() == 0)
    return fail(ec::unavailable, "the log has no partitions yet");
  std::vector<std::uint64_t> ends;
  for (auto* each : *info->partitions()) {
    if (each->partition() > most_partitions)
      return fail(ec::corrupt, "the log names partition {}", each->partition());
    ends.resize(std::max<std::size_t>(ends.size(), each->partition() + std::size_t{1}));
    ends[each->partition()] = each->next_offset();
  }
  return ends;
}

chunk fetch_query(std::uint32_t partition, std::uint64_t offset, std::uint32_t max_bytes,
                  std::chrono::microseconds wait) {
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateFetch(out, partition, offset, max_bytes, static_cast<std::uint64_t>(wait.count())),
             "TRPI");
  return net::bytes_of(out);
}

expected<log_records> read_log_records(const chunk& payload, std::uint32_t partition, std::uint64_t offset) {
  TROUPE_TRY(reply, net::read_as<wire::FetchReply>(payload, "TRPI", "FetchReply"));
  log_records found{partition, offset, {}, offset, reply->next_offset(), reply->log()};
  if (found.log_end < offset)
    return fail(
        ec::conflict,
        "partition {} of the log ends at {}, before offset {} that is to be read: was the log replaced?",
        partition, found.log_end, offset);
  if (!reply->batches())
    return found;
  for (auto* each : *reply->batches()) {
    if (!each->batch())
      continue;
    TROUPE_TRY(records, batch::open(nested(payload, *each->batch())));
    if (records.partition() != partition)
      return fail(ec::corrupt, "partition {} was asked for, a batch of {} came", partition,
                  records.partition());
    if (records.base_offset() > found.next)
      return fail(ec::corrupt, "partition {} of the log has a gap: offset {} follows {}", partition,
                  records.base_offset(), found.next);
    auto end = records.base_offset() + records.size();
    if (end <= found.next)
      continue;
    found.next = end;
    found.batches.push_back(std::move(records));
  }
  found.log_end = std::max(found.log_end, found.next);
  return found;
}

} // namespace troupe::ingest
