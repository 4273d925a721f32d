#include "tests/contract/sample_batch.hpp"

#include "tests/contract/message_table.hpp"

namespace troupe::contract {

record sample() {
  record rec;
  rec.id = "e1";
  rec.type = "rating";
  rec.user = "u1";
  rec.item = "i1";
  rec.event_time = from_micros(at);
  rec.ingest_time = from_micros(at + 1);
  rec.value = 4.5;
  rec.request_id = "r1";
  rec.attributes = {{"genres", text_list{"Drama", "War"}},
                    {"position", 3.0},
                    {"promoted", true},
                    {"query", std::string{"\xc3\xbc"}}};
  return rec;
}

record sample_slate() {
  auto rec = sample();
  rec.kind = record_kind::slate;
  rec.id = "slate:r1";
  rec.type = "impression";
  rec.item.clear();
  rec.value.reset();
  rec.shown = {{"i1", 1, 0.25}, {"i2", 2, 1}};
  return rec;
}

chunk sample_batch() {
  std::vector<record> records{sample()};
  return encode_batch(records, 7, 42);
}

std::vector<std::uint8_t> sample_batch_bytes() {
  auto bytes = sample_batch();
  auto* first = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return {first, first + bytes.size()};
}

bool is_sample_batch(const flatbuffers::Vector<std::uint8_t>* bytes) {
  if (bytes == nullptr)
    return false;
  auto opened = batch::open(chunk::copy({reinterpret_cast<const std::byte*>(bytes->data()), bytes->size()}));
  return opened && opened->size() == 1 && to_record((*opened)[0]) == sample();
}

} // namespace troupe::contract
