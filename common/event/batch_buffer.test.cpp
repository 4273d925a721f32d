#include "common/event/batch_buffer.hpp"

#include <doctest/doctest.h>

using namespace troupe;

namespace {

record numbered(int number) {
  record rec;
  rec.id = "e" + std::to_string(number);
  rec.type = "view";
  rec.user = "u" + std::string(static_cast<std::size_t>(number % 11), 'x');
  rec.item = "i";
  rec.event_time = from_micros(1'000 + number);
  rec.ingest_time = from_micros(1);
  if (number % 2)
    rec.value = number / 3.0;
  rec.attributes = {{"n", double(number)}, {"t", std::string(static_cast<std::size_t>(number % 5), 'y')}};
  return rec;
}

batch_buffer buffer_of(const std::vector<record>& records, std::uint32_t partition) {
  std::vector<const record*> pointers;
  for (auto& each : records)
    pointers.push_back(&each);
  return {pointers, partition};
}

} // namespace

TEST_CASE("a batch that was encoded is told afterwards where it stands and when it was taken") {
  std::vector<record> records{numbered(1), numbered(2)};
  auto buffer = buffer_of(records, 3);

  for (std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1} << 40}) {
    buffer.set_base_offset(offset);
    buffer.set_ingest_time(from_micros(77));
    auto read = batch::open(chunk::copy(as_bytes(buffer.text()))).value();

    CHECK(read.base_offset() == offset);
    CHECK(read.partition() == 3);
    for (std::size_t i = 0; i < 2; ++i) {
      records[i].ingest_time = from_micros(77);
      CHECK(to_record(read[i]) == records[i]);
    }
  }
}

TEST_CASE("batches are joined without being encoded again, in a row or each record at its place") {
  std::vector<record> even, odd;
  std::vector<std::uint32_t> even_places, odd_places;
  for (int i = 0; i < 101; ++i) {
    (i % 2 ? odd : even).push_back(numbered(i));
    (i % 2 ? odd_places : even_places).push_back(static_cast<std::uint32_t>(i));
  }
  auto first = buffer_of(even, 1), second = buffer_of(odd, 2);

  joined_part in_a_row[] = {{&first}, {&second}};
  auto row = batch::open(join_batches(in_a_row, 5, 9)).value();
  joined_part placed[] = {{&first, even_places}, {&second, odd_places}};
  auto mixed = batch::open(join_batches(placed)).value();

  CHECK(row.partition() == 5);
  CHECK(row.base_offset() == 9);
  REQUIRE(row.size() == 101);
  REQUIRE(mixed.size() == 101);
  for (std::size_t i = 0; i < 101; ++i) {
    CHECK(to_record(row[i]) == (i < even.size() ? even[i] : odd[i - even.size()]));
    CHECK(to_record(mixed[i]) == numbered(static_cast<int>(i)));
  }
  CHECK(reinterpret_cast<std::uintptr_t>(mixed.bytes().data()) % 8 == 0);
}
