#include "services/ingest/log/log_layout.hpp"

#include "common/store/codec.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

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
  return store::encoder{}
      .big_text(from.position)
      .big(from.batches)
      .big(from.rows)
      .big(from.bytes)
      .big(a.events)
      .big(a.users)
      .big(a.items)
      .big(a.duplicates)
      .big(a.quarantined)
      .big(a.late)
      .big(a.skipped)
      .big(std::uint64_t{from.done})
      .big(from.records)
      .take();
}

source_state decode_source(std::string_view bytes) {
  store::decoder in{bytes};
  source_state to;
  to.position = in.big_text();
  for (auto* field : {&to.batches, &to.rows, &to.bytes, &to.added.events, &to.added.users, &to.added.items,
                      &to.added.duplicates, &to.added.quarantined, &to.added.late, &to.added.skipped})
    *field = in.big();
  to.done = in.big() != 0;
  to.records = in.big();
  return to;
}

std::string encode(const log_state& from) {
  store::encoder out;
  auto& t = from.total;
  out.big(from.quarantine_next)
      .big(t.events)
      .big(t.users)
      .big(t.items)
      .big(t.duplicates)
      .big(t.quarantined)
      .big(t.late);
  out.big(std::uint64_t{from.partitions.size()});
  for (auto& each : from.partitions)
    out.big(each.next).big(static_cast<std::uint64_t>(each.watermark));
  return out.take();
}

log_state decode_state(std::string_view bytes) {
  store::decoder in{bytes};
  log_state to;
  auto& t = to.total;
  for (auto* field :
       {&to.quarantine_next, &t.events, &t.users, &t.items, &t.duplicates, &t.quarantined, &t.late})
    *field = in.big();
  to.partitions.resize(std::min<std::uint64_t>(in.big(), 1 << 16));
  for (auto& each : to.partitions) {
    each.next = in.big();
    each.watermark = static_cast<std::int64_t>(in.big());
  }
  return to;
}

std::string encode_offsets(const std::vector<std::uint64_t>& from) {
  store::encoder out;
  for (auto each : from)
    out.whole(each);
  return out.take();
}

std::vector<std::uint64_t> decode_offsets(std::string_view bytes) {
  std::vector<std::uint64_t> to;
  for (store::decoder in{bytes}; !in.done();)
    to.push_back(in.whole());
  return to;
}

std::string encode(const quarantined_row& from) {
  return store::encoder{}
      .big(from.number)
      .big_text(from.source)
      .big_text(from.import)
      .big(from.row)
      .big(from.byte_offset)
      .big_text(from.rule)
      .big_text(from.field)
      .big_text(from.reason)
      .big_text(from.raw)
      .big(static_cast<std::uint64_t>(micros_of(from.at)))
      .big(std::uint64_t{from.replayed})
      .big(static_cast<std::uint64_t>(from.raw_is))
      .take();
}

quarantined_row decode_row(std::string_view bytes) {
  store::decoder in{bytes};
  quarantined_row to;
  to.number = in.big();
  to.source = in.big_text();
  to.import = in.big_text();
  to.row = in.big();
  to.byte_offset = in.big();
  to.rule = in.big_text();
  to.field = in.big_text();
  to.reason = in.big_text();
  to.raw = in.big_text();
  to.at = from_micros(static_cast<std::int64_t>(in.big()));
  to.replayed = in.big() != 0;
  to.raw_is = in.done() ? raw_kind::unsaid : static_cast<raw_kind>(in.big());
  return to;
}

std::string encode(const lake_segment& from) {
  return store::encoder{}
      .big(std::uint64_t{from.partition})
      .big(from.first)
      .big(from.next)
      .big_text(from.path)
      .big(from.bytes)
      .take();
}

lake_segment decode_segment(std::string_view bytes) {
  store::decoder in{bytes};
  lake_segment to;
  to.partition = static_cast<std::uint32_t>(in.big());
  to.first = in.big();
  to.next = in.big();
  to.path = in.big_text();
  to.bytes = in.big();
  return to;
}

hash128 hash_of(const record& rec) {
  if (rec.kind == record_kind::event)
    return hash_wide(std::string_view{rec.id});
  // No id holds a control character: no event has this one.
  return hash_wide(std::string_view{static_cast<char>(rec.kind) + rec.id});
}

hash128 hash_of_before(const record& rec) {
  return hash_wide(std::string_view{rec.id});
}

std::uint64_t content_hash_of_before(record rec) {
  if (std::exchange(rec.untimed, false))
    rec.event_time = {};
  return content_hash(rec);
}

hash128 hash_of(const rejected_row& row) {
  return hash_wide(std::string_view{store::encoder{}
                                        .big_text("quarantine")
                                        .big_text(row.source)
                                        .big(row.row)
                                        .big_text(row.rule)
                                        .big_text(row.raw)
                                        .take()});
}

std::string segment_key(std::uint32_t partition, std::uint64_t first) {
  return "segment/" + block_key(partition, first);
}

} // namespace troupe::ingest
