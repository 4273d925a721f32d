#include "services/ingest/log/column_block.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <random>

using namespace troupe;
using namespace troupe::ingest;

namespace {

/// Records as nobody would write them: every field, every kind of attribute, in many shapes.
class odd_records {
public:
  explicit odd_records(unsigned seed) : draw_{seed} {}

  record next() {
    record rec;
    rec.kind = static_cast<record_kind>(draw_() % 4);
    rec.id = text();
    if (rec.id.empty())
      rec.id = "x";
    rec.type = one_of({"", "view", "click", "a\0b"});
    rec.user = "u" + std::to_string(draw_() % 50);
    rec.item = text();
    rec.request_id = draw_() % 2 ? text() : "";
    rec.event_time = from_micros(time());
    rec.ingest_time = from_micros(draw_() % 3 ? 1'700'000'000'000'000 : time());
    if (draw_() % 2)
      rec.value = number();
    rec.untimed = draw_() % 5 == 0;
    for (std::size_t i = draw_() % 4; i > 0; --i)
      rec.attributes.push_back({one_of({"a", "b", "c", "", "genres"}), value()});
    for (std::size_t i = draw_() % 7 == 0 ? draw_() % 12 : 0; i > 0; --i)
      rec.shown.push_back({text(), static_cast<std::uint32_t>(draw_()), number()});
    return rec;
  }

private:
  std::string one_of(std::initializer_list<std::string_view> from) {
    return std::string{from.begin()[draw_() % from.size()]};
  }
  std::string text() {
    switch (draw_() % 8) {
    case 0:
      return {};
    case 1:
      return "e" + std::to_string(draw_());
    case 2:
      return "w1-r" + std::to_string(draw_() % 100) + "-" + std::to_string(draw_() % 3);
    case 3:
      return "00" + std::to_string(draw_() % 100);
    case 4:
      return "18446744073709551616";
    case 5:
      return std::string(draw_() % 300, static_cast<char>(draw_()));
    default:
      return one_of({"Ōkami", "999999999999999999", "x0", "x1", "0", std::string_view{"\0\n", 2}});
    }
  }
  std::int64_t time() {
    switch (draw_() % 5) {
    case 0:
      return std::numeric_limits<std::int64_t>::min();
    case 1:
      return std::numeric_limits<std::int64_t>::max();
    default:
      return static_cast<std::int64_t>(draw_() % 1000) * 1'000'000;
    }
  }
  double number() {
    switch (draw_() % 8) {
    case 0:
      return -0.0;
    case 1:
      return std::numeric_limits<double>::infinity();
    case 2:
      return static_cast<double>(draw_()) / 7e9;
    case 3:
      return 36.99;
    case 4:
      return std::numeric_limits<double>::denorm_min();
    case 5:
      return -1e300;
    default:
      return static_cast<double>(draw_() % 10) - 5;
    }
  }
  attribute_value value() {
    switch (draw_() % 4) {
    case 0:
      return text();
    case 1:
      return number();
    case 2:
      return draw_() % 2 == 0;
    default:
      return text_list(draw_() % 3, text());
    }
  }

  std::mt19937_64 draw_;
};

std::string block_of(const std::vector<record>& records, std::uint32_t partition = 0,
                     std::uint64_t base = 0) {
  block_builder to;
  auto from = batch::trusted(encode_batch(std::span<const record>{records}));
  for (std::size_t i = 0; i < from.size(); ++i)
    to.add(from[i]);
  return to.finish(partition, base);
}

std::vector<record> read_back(const column_block& block, std::uint64_t from, std::size_t max_bytes) {
  std::vector<record> found;
  while (from < block.base_offset() + block.size()) {
    auto rows = block.rows(from, max_bytes);
    REQUIRE_MESSAGE(rows, rows.error().text);
    auto opened = batch::open(*rows);
    REQUIRE(opened);
    REQUIRE(opened->partition() == block.partition());
    REQUIRE(opened->base_offset() == from);
    REQUIRE(opened->size() > 0);
    REQUIRE((opened->size() == 1 || rows->size() <= max_bytes + 8'000)); // One record more.
    for (std::size_t i = 0; i < opened->size(); ++i)
      found.push_back(to_record((*opened)[i]));
    from += opened->size();
  }
  return found;
}

/// Equal to the bit, which == of numbers does not tell.
bool same(const record& a, const record& b) {
  return a == b && encode_batch({&a, 1}).text() == encode_batch({&b, 1}).text();
}

} // namespace

TEST_CASE("a block of columns gives back every field of every record, whole or from any offset on") {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    odd_records make{seed};
    std::vector<record> records(seed % 7 == 0 ? 1 : 3 + seed * 11);
    for (auto& each : records)
      each = make.next();
    auto bytes = block_of(records, 3, 1000);
    REQUIRE(column_block::is_one(bytes));
    auto block = column_block::open(bytes);
    REQUIRE(block);
    REQUIRE(block->size() == records.size());

    for (std::size_t from : {std::size_t{0}, records.size() / 2, records.size() - 1}) {
      auto found = read_back(*block, 1000 + from, seed % 2 ? 4'000 : std::size_t{1} << 24);
      REQUIRE(found.size() == records.size() - from);
      for (std::size_t i = 0; i < found.size(); ++i)
        REQUIRE(same(found[i], records[from + i]));
    }
  }
}

TEST_CASE("events as people have them take a tenth of the bytes") {
  std::vector<record> records(4096);
  std::mt19937 draw{7};
  for (std::size_t i = 0; i < records.size(); ++i) {
    auto& rec = records[i];
    rec.id = "w1-e" + std::to_string(1'000'000 + 9 * i);
    rec.type = "rating";
    rec.user = "u" + std::to_string(draw() % 1000);
    rec.item = "i" + std::to_string(draw() % 500);
    rec.event_time = from_micros(1'700'000'000'000'000 + static_cast<std::int64_t>(i) * 3'000'000);
    rec.ingest_time = rec.event_time;
    rec.value = static_cast<double>(draw() % 5 + 1);
    rec.attributes = {{"device", std::string{draw() % 2 ? "phone" : "desktop"}}};
  }

  auto block = block_of(records);

  CHECK(block.size() < encode_batch(std::span<const record>{records}).size() / 10);
}

TEST_CASE("a field is read without the others, an attribute by its name") {
  odd_records make{5};
  std::vector<record> records(200);
  for (auto& each : records) {
    each = make.next();
    each.attributes = {{"arm", std::string{each.untimed ? "a" : "b"}}};
    if (each.value)
      each.attributes.clear();
  }
  auto bytes = block_of(records);
  auto block = column_block::open(bytes).value();

  auto types = block.texts(block_field::type).value();
  auto items = block.texts(block_field::item).value();
  auto arms = block.text_attribute("arm").value();
  auto times = block.times(block_field::event_time).value();
  auto none = block.text_attribute("device").value();
  for (std::size_t i = 0; i < records.size(); ++i) {
    CHECK(types[i] == records[i].type);
    CHECK(items[i] == records[i].item);
    CHECK(arms[i] == (records[i].value ? "" : records[i].untimed ? "a" : "b"));
    CHECK(times[i] == micros_of(records[i].event_time));
    CHECK(none[i].empty());
  }
}

TEST_CASE("a damaged block is refused or read as what it says, and never past its end") {
  odd_records make{11};
  std::vector<record> records(40);
  for (auto& each : records)
    each = make.next();
  auto bytes = block_of(records);
  std::mt19937 draw{1};
  for (int i = 0; i < 3000; ++i) {
    auto broken = bytes;
    if (i % 3 == 0)
      broken.resize(draw() % broken.size());
    else
      broken[9 + draw() % (broken.size() - 9)] = static_cast<char>(draw());
    auto block = column_block::open(broken);
    if (!block) {
      CHECK(block.error().code == ec::corrupt);
      continue;
    }
    if (block->size() == 0)
      continue;
    auto rows = block->rows(block->base_offset(), std::size_t{1} << 24);
    if (rows)
      CHECK(batch::open(*rows).has_value());
    else
      CHECK(rows.error().code == ec::corrupt);
  }
  CHECK_FALSE(column_block::is_one(encode_batch({&records[0], 1}).text()));
}
