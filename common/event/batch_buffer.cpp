#include "common/event/batch_buffer.hpp"

#include <cassert>
#include <limits>
#include <memory>

namespace troupe {

namespace {

using table = flatbuffers::Table;
using table_list = flatbuffers::Vector<flatbuffers::Offset<table>>;

table* root_of(std::string& bytes) {
  return flatbuffers::GetMutableRoot<table>(bytes.data());
}

/// A number that the table holds; one that equals its default was left out when it was built.
template <class Number>
void set(table& in, flatbuffers::voffset_t field, Number value) {
  [[maybe_unused]] auto held = in.SetField<Number>(field, value);
  assert(held);
}

} // namespace

batch_buffer::batch_buffer(std::span<const record* const> records, std::uint32_t partition)
    : bytes_{encode_batch(records, partition, std::numeric_limits<std::uint64_t>::max()).text()},
      records_{records.size()} {}

batch_buffer::batch_buffer(const batch& from) : bytes_{from.bytes().text()}, records_{from.size()} {}

void batch_buffer::set_base_offset(std::uint64_t offset) {
  set(*root_of(bytes_), wire::Batch::VT_BASE_OFFSET, offset);
}

void batch_buffer::set_ingest_time(timestamp at) {
  auto* list = root_of(bytes_)->GetPointer<table_list*>(wire::Batch::VT_RECORDS);
  for (std::uint32_t i = 0; i < records_; ++i)
    set(*list->GetMutableObject(i), wire::Record::VT_INGEST_TIME, micros_of(at));
}

chunk join_batches(std::span<const joined_part> parts, std::uint32_t partition, std::uint64_t base_offset) {
  std::size_t bytes = 64, records = 0;
  for (auto& each : parts) {
    bytes += each.from->text().size() + 8 + 4 * each.from->records();
    records += each.from->records();
  }
  auto out = std::make_shared<flatbuffers::FlatBufferBuilder>(bytes);
  std::vector<flatbuffers::Offset<wire::Record>> list(records);
  std::uint32_t next = 0;
  for (auto& each : parts) {
    // All that a table refers to, it refers to relatively: a batch that lies on 8 bytes may lie anywhere.
    auto text = each.from->text();
    auto* begin = reinterpret_cast<const std::uint8_t*>(text.data());
    out->PreAlign(text.size(), 8);
    out->PushBytes(begin, text.size());
    auto* from = wire::GetBatch(begin)->records();
    for (std::uint32_t i = 0; i < from->size(); ++i) {
      auto inside =
          static_cast<flatbuffers::uoffset_t>(reinterpret_cast<const std::uint8_t*>(from->Get(i)) - begin);
      list[each.places.empty() ? next++ : each.places[i]] = out->GetSize() - inside;
    }
  }
  auto all = out->CreateVector(list);
  out->Finish(wire::CreateBatch(*out, partition, base_offset, all), wire::BatchIdentifier());
  byte_view view{reinterpret_cast<const std::byte*>(out->GetBufferPointer()), out->GetSize()};
  return {std::move(out), view};
}

} // namespace troupe
