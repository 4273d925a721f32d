#include "services/ingest/log_layout.hpp"

#include "services/ingest/codec.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::ingest {

dedup_key key_of(hash128 hash) {
  dedup_key key;
  std::memcpy(key.data(), &hash.high, 8);
  std::memcpy(key.data() + 8, &hash.low, 8);
  return key;
}

std::string_view view(const dedup_key& key) {
  return {key.data(), key.size()};
}

std::string block_key(std::uint32_t partition, std::uint64_t offset) {
  std::string key;
  store::append_u32(key, partition);
  store::append_u64(key, offset);
  return key;
}

std::string number_key(std::uint64_t number) {
  std::string key;
  store::append_u64(key, number);
  return key;
}

std::string encode(const source_state& from) {
  auto& a = from.added;
  return encoder{}
      .add(from.position)
      .add(from.batches)
      .add(from.rows)
      .add(from.bytes)
      .add(a.events)
      .add(a.users)
      .add(a.items)
      .add(a.duplicates)
      .add(a.quarantined)
      .add(a.late)
      .add(a.skipped)
      .add(std::uint64_t{from.done})
      .add(from.records)
      .take();
}

source_state decode_source(std::string_view bytes) {
  decoder in{bytes};
  source_state to;
  to.position = in.text();
  for (auto* field : {&to.batches, &to.rows, &to.bytes, &to.added.events, &to.added.users, &to.added.items,
                      &to.added.duplicates, &to.added.quarantined, &to.added.late, &to.added.skipped})
    *field = in.number();
  to.done = in.number() != 0;
  to.records = in.number();
  return to;
}

std::string encode(const log_state& from) {
  encoder out;
  auto& t = from.total;
  out.add(from.quarantine_next)
      .add(t.events)
      .add(t.users)
      .add(t.items)
      .add(t.duplicates)
      .add(t.quarantined)
      .add(t.late);
  out.add(std::uint64_t{from.partitions.size()});
  for (auto& each : from.partitions)
    out.add(each.next).add(static_cast<std::uint64_t>(each.watermark));
  return out.take();
}

log_state decode_state(std::string_view bytes) {
  decoder in{bytes};
  log_state to;
  auto& t = to.total;
  for (auto* field :
       {&to.quarantine_next, &t.events, &t.users, &t.items, &t.duplicates, &t.quarantined, &t.late})
    *field = in.number();
  to.partitions.resize(std::min<std::uint64_t>(in.number(), 1 << 16));
  for (auto& each : to.partitions) {
    each.next = in.number();
    each.watermark = static_cast<std::int64_t>(in.number());
  }
  return to;
}

std::string encode(const quarantined_row& from) {
  return encoder{}
      .add(from.number)
      .add(from.source)
      .add(from.import)
      .add(from.row)
      .add(from.byte_offset)
      .add(from.rule)
      .add(from.field)
      .add(from.reason)
      .add(from.raw)
      .add(static_cast<std::uint64_t>(micros_of(from.at)))
      .add(std::uint64_t{from.replayed})
      .take();
}

quarantined_row decode_row(std::string_view bytes) {
  decoder in{bytes};
  quarantined_row to;
  to.number = in.number();
  to.source = in.text();
  to.import = in.text();
  to.row = in.number();
  to.byte_offset = in.number();
  to.rule = in.text();
  to.field = in.text();
  to.reason = in.text();
  to.raw = in.text();
  to.at = from_micros(static_cast<std::int64_t>(in.number()));
  to.replayed = in.number() != 0;
  return to;
}

std::string encode(const lake_segment& from) {
  return encoder{}
      .add(std::uint64_t{from.partition})
      .add(from.first)
      .add(from.next)
      .add(from.path)
      .add(from.bytes)
      .take();
}

lake_segment decode_segment(std::string_view bytes) {
  decoder in{bytes};
  lake_segment to;
  to.partition = static_cast<std::uint32_t>(in.number());
  to.first = in.number();
  to.next = in.number();
  to.path = in.text();
  to.bytes = in.number();
  return to;
}

hash128 hash_of(const rejected_row& row) {
  return hash_wide(std::string_view{
      encoder{}.add("quarantine").add(row.source).add(row.row).add(row.rule).add(row.raw).take()});
}

std::string segment_key(std::uint32_t partition, std::uint64_t first) {
  return "segment/" + block_key(partition, first);
}

} // namespace troupe::ingest
