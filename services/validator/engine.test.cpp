#include "services/validator/engine.hpp"

#include "services/validator/test_records.hpp"

#include "common/testing/temp_dir.hpp"

#include "schemas/validator_generated.h"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <fstream>
#include <random>

using namespace troupe;
using namespace troupe::validator;
using validator::testing::batch_of;
using validator::testing::rating;

namespace {

constexpr auto rules =
    "[[schema]]\nkind = \"event\"\ntype = \"rating\"\n[[schema.field]]\nname = \"value\"\nmax = 5\n"
    "[[schema.field]]\nname = \"context.order\"\nunique = true\n";

/// An engine in a folder of its own that can be closed and opened again.
struct place {
  place() { write("r.toml", rules); }

  void write(const std::string& name, std::string_view toml) {
    std::filesystem::create_directories(dir / "schemas");
    std::ofstream{dir / "schemas" / name} << toml;
  }

  expected<void> open(config with = {}) {
    made.reset();
    with.reload_every = std::chrono::milliseconds{0};
    counts = std::make_unique<metrics::registry>();
    TROUPE_TRY(opened, engine::open(with, dir / "schemas", dir / "state", *counts));
    made = std::move(opened);
    return {};
  }

  std::vector<std::string> validate(std::string_view source, std::uint64_t first_row,
                                    const std::vector<record>& records) {
    auto answer =
        made->answer(wire::Kind::validate, encode_validate(source, first_row, encode_batch(records).view()));
    REQUIRE(answer.has_value());
    std::vector<std::string> lines;
    for (auto* each : *flatbuffers::GetRoot<wire::RowViolations>(answer->data())->refused())
      lines.push_back(
          fmt::format("{} {}: {}", each->record(), text_of(each->rule()), text_of(each->reason())));
    return lines;
  }

  boost::json::value profile_of(std::string_view source) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateProfileQuery(out, out.CreateString(source.data(), source.size())), "TRPV");
    auto answer = made->answer(
        wire::Kind::profile,
        chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()}));
    REQUIRE(answer.has_value());
    return boost::json::parse(
        std::string{text_of(flatbuffers::GetRoot<wire::ProfileReply>(answer->data())->json())});
  }

  std::int64_t rows_of(std::string_view source) { return profile_of(source).at("rows").as_int64(); }

  troupe::testing::temp_dir dir;
  std::unique_ptr<metrics::registry> counts;
  std::unique_ptr<engine> made;
};

record order(std::uint64_t row, std::string number, double value = 1) {
  return rating(row, value, {{"order", std::move(number)}});
}

} // namespace

TEST_CASE("a batch is judged over the wire, in place and at any address") {
  place here;
  REQUIRE(here.open().has_value());
  auto bytes = encode_validate("s", 0, encode_batch(std::vector{rating(1, 3), rating(2, 7)}).view());

  CHECK(here.validate("s", 0, {rating(1, 3), rating(2, 7)}) ==
        std::vector<std::string>{"1 range: value 7 is above the maximum 5"});
  // A sender that does not align the batch inside its request costs a copy and no more.
  flatbuffers::FlatBufferBuilder out;
  auto rows = encode_batch(std::vector{rating(1, 9)});
  auto batch = out.CreateVector(reinterpret_cast<const std::uint8_t*>(rows.data()), rows.size());
  out.Finish(wire::CreateValidate(out, out.CreateString("s"), 5, batch), "TRPV");
  auto answer = here.made->answer(
      wire::Kind::validate,
      chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()}));
  REQUIRE(answer.has_value());
  CHECK(flatbuffers::GetRoot<wire::RowViolations>(answer->data())->refused()->size() == 1);
}

TEST_CASE("a batch judged again gets the same violations and counts once, after a restart too") {
  place here;
  config with;
  with.persist_rows = 1;
  REQUIRE(here.open(with).has_value());
  std::vector<record> rows{order(0, "a"), order(1, "b"), order(2, "a"), order(3, "c", 9)};

  auto first = here.validate("s", 0, rows);
  auto again = here.validate("s", 0, rows);
  REQUIRE(here.open(with).has_value());
  auto restarted = here.validate("s", 0, rows);
  auto shifted = here.validate("s", 2, {rows[2], rows[3], order(4, "d")});

  CHECK(first.size() == 2);
  CHECK(again == first);
  CHECK(restarted == first);
  CHECK(shifted.size() == 2);
  CHECK(here.rows_of("s") == 3);
  CHECK(here.profile_of("s").at("refused").at("unique").as_int64() == 1);
  CHECK(here.profile_of("s").at("refused").at("range").as_int64() == 1);
}

TEST_CASE("profiles are written when the engine is closed and kept apart by source") {
  place here;
  REQUIRE(here.open().has_value());
  here.validate("s", 0, {rating(0, 1), rating(1, 2)});
  here.validate("t", 0, {rating(0, 3)});

  REQUIRE(here.open().has_value());

  CHECK(here.rows_of("s") == 2);
  CHECK(here.rows_of("t") == 1);
  CHECK(here.rows_of("") == 3);
}

TEST_CASE("batches of one source that overtake each other count once each") {
  place here;
  REQUIRE(here.open().has_value());

  here.validate("s", 2, {rating(2, 1), rating(3, 1)});
  here.validate("s", 0, {rating(0, 1), rating(1, 1)});
  here.validate("s", 1, {rating(1, 1), rating(2, 1), rating(3, 1), rating(4, 1)});

  CHECK(here.rows_of("s") == 5);
}

TEST_CASE("changed schemas come into force and broken ones do not") {
  place here;
  REQUIRE(here.open().has_value());
  CHECK(here.validate("s", 0, {rating(0, 7)}).size() == 1);

  here.write("r.toml", "[[schema]]\nkind = \"event\"\n[[schema.field]]\nname = \"value\"\nmax = 10\n");
  CHECK(here.validate("s", 1, {rating(1, 7)}).empty());
  here.write("r.toml", "[[schema]]\nkind = \"event\"\n[[schema.field]]\nname = \"valu\"\n");
  CHECK(here.validate("s", 2, {rating(2, 7)}).empty());
  CHECK(here.validate("s", 3, {rating(3, 11)}).size() == 1);
  std::filesystem::remove(here.dir / "schemas" / "r.toml");
  CHECK(here.validate("s", 4, {rating(4, 11)}).empty());
}

TEST_CASE("an engine does not start with broken schemas") {
  place here;
  here.write("x.toml", "[[schema]]\nkind = \"event\"\ncolour = 1\n");

  auto opened = here.open();

  REQUIRE_FALSE(opened.has_value());
  CHECK(opened.error().text.find("x.toml:3: unknown key 'colour'") != std::string::npos);
}

TEST_CASE("two files for the same records are refused with both names") {
  place here;
  here.write("other.toml", "[[schema]]\nname = \"second\"\nkind = \"event\"\ntype = \"rating\"\n");

  auto opened = here.open();

  REQUIRE_FALSE(opened.has_value());
  CHECK(opened.error().text.find("schemas second and event/rating are for the same records") !=
        std::string::npos);
}

TEST_CASE("malformed requests get a clear error and change nothing") {
  place here;
  REQUIRE(here.open().has_value());
  auto good = encode_validate("s", 0, encode_batch(std::vector{rating(1, 3), rating(2, 7)}).view());
  std::mt19937_64 random{20240131};

  for (int round = 0; round < 2000; ++round) {
    std::string broken{good.text()};
    if (round % 2 == 0)
      broken.resize(random() % broken.size());
    for (int i = 0; i < 3 && !broken.empty(); ++i)
      broken[random() % broken.size()] = static_cast<char>(random());
    auto answer = here.made->answer(static_cast<wire::Kind>(200 + round % 3), chunk::own(std::move(broken)));
    if (!answer)
      CHECK((answer.error().code == ec::corrupt || answer.error().code == ec::invalid_argument ||
             answer.error().code == ec::not_found));
  }
  auto noise = here.made->answer(wire::Kind::validate, chunk::own(std::string(1000, '\x5a')));
  auto no_batch = here.made->answer(wire::Kind::validate, encode_validate("s", 0, as_bytes("0123456789")));
  auto other_kind = here.made->answer(wire::Kind::append, good);

  CHECK(noise.error().text == "a payload of 1000 bytes is no Validate");
  CHECK(no_batch.error().code == ec::corrupt);
  CHECK(other_kind.error().code == ec::invalid_argument);
}

TEST_CASE("sources beyond the bound are judged and not profiled") {
  place here;
  config with;
  with.max_sources = 1;
  REQUIRE(here.open(with).has_value());

  here.validate("s", 0, {rating(0, 1)});
  auto lines = here.validate("t", 0, {rating(0, 9)});

  CHECK(lines.size() == 1);
  CHECK(here.rows_of("") == 1);
}

TEST_CASE("row ranges merge, hold their bound and survive storing") {
  row_ranges rows;
  rows.add(10, 20);
  rows.add(20, 30);
  rows.add(0, 5);
  CHECK(rows.size() == 2);
  CHECK(rows.contains(29));
  CHECK_FALSE(rows.contains(30));
  CHECK_FALSE(rows.touches(5, 10));
  CHECK(rows.touches(4, 10));
  rows.add(3, 12);
  CHECK(rows.size() == 1);
  for (std::uint64_t i = 0; i < 2000; ++i)
    rows.add(1000 + i * 2, 1001 + i * 2);

  store::encoder out;
  rows.save(out);
  store::decoder in{out.bytes()};
  auto loaded = row_ranges::load(in);

  CHECK(rows.size() == row_ranges::most);
  CHECK(loaded.size() == rows.size());
  CHECK(loaded.end() == 1000 + 1999 * 2 + 1);
}
