#include "services/ingest/admission/admission.hpp"

#include "services/ingest/testing/requests.hpp"

using namespace troupe;
using namespace troupe::ingest;
using namespace troupe::ingest::testing;

namespace {

/// `count` events of many users, as a file gives them.
admission filled(int count) {
  admission batch{"stream", 40};
  batch.request()->source = "f.csv";
  for (int i = 0; i < count; ++i)
    batch.add(event(i, "u" + std::to_string(i)), {static_cast<std::uint64_t>(i) + 1, 0, "raw"});
  return batch;
}

/// What the log would store, by id; each record once.
std::vector<std::string> stored(const append_request& request) {
  std::vector<std::string> ids(request.size());
  std::size_t found = 0;
  for (auto& part : request.parts) {
    auto records = batch::open(chunk::copy(as_bytes(part.bytes.text()))).value();
    CHECK(records.partition() == part.partition);
    REQUIRE(records.size() == part.rows.size());
    for (std::size_t i = 0; i < records.size(); ++i, ++found) {
      auto rec = to_record(records[i]);
      CHECK(partition_of(rec.user, 4) == part.partition);
      ids[part.rows[i]] = rec.id;
    }
  }
  CHECK(found == request.size());
  return ids;
}

} // namespace

TEST_CASE("what the validator sees is what is appended: in the order of the rows, encoded once") {
  auto batch = filled(100);

  batch.encode(4);
  auto asked = batch.validation();
  auto seen = troupe::batch::open(asked.batch).value();
  std::vector<const char*> bytes;
  for (auto& part : batch.request()->parts)
    bytes.push_back(part.bytes.text().data());
  batch.take_out({});

  CHECK(asked.source == "stream");
  CHECK(asked.first_record == 40);
  REQUIRE(seen.size() == 100);
  auto ids = stored(*batch.request());
  for (std::size_t i = 0; i < 100; ++i) {
    CHECK(to_record(seen[i]).id == "e" + std::to_string(i));
    CHECK(ids[i] == "e" + std::to_string(i));
  }
  CHECK(batch.request()->parts.size() == 4);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    CHECK(batch.request()->parts[i].bytes.text().data() == bytes[i]);
}

TEST_CASE("records that break a rule are taken out with their origin, the first violation of each stands") {
  auto batch = filled(50);
  batch.encode(4);
  auto part_of_9 = partition_of("u9", 4);
  const char* untouched = nullptr;
  for (auto& part : batch.request()->parts)
    if (part.partition != part_of_9)
      untouched = part.bytes.text().data();

  batch.take_out({{9, "range", "value", "too large"}, {9, "set", "type", "twice refused counts once"}});

  auto& request = *batch.request();
  CHECK(request.size() == 49);
  CHECK(request.origins.size() == 49);
  CHECK(request.origins[9].row == 11);
  REQUIRE(request.refused.size() == 1);
  CHECK(request.refused[0].row == 10);
  CHECK(request.refused[0].rule == "range");
  CHECK(request.refused[0].raw == "raw");
  auto ids = stored(request);
  CHECK(ids[8] == "e8");
  CHECK(ids[9] == "e10");
  bool kept = false;
  for (auto& part : request.parts)
    kept = kept || part.bytes.text().data() == untouched;
  CHECK(kept); // A part that loses nothing is not encoded again.
}

TEST_CASE("a record the log cannot keep is refused by rule `record`, as JSON where its bytes are not known") {
  admission batch{"stream"};
  record bad = event(1);
  bad.user.clear();

  batch.add(bad, {7});
  batch.add(event(2), {8});
  batch.encode(4);

  auto& request = *batch.request();
  REQUIRE(request.refused.size() == 1);
  CHECK(request.refused[0].row == 7);
  CHECK(request.refused[0].rule == "record");
  CHECK(request.refused[0].raw.find("\"id\":\"e1\"") != std::string::npos);
  CHECK(request.size() == 1);
}

TEST_CASE("a row out of the quarantine is taken whole or stays whole") {
  admission batch{"replay"};
  for (int i = 0; i < 4; ++i) // Two records a row.
    batch.add(event(i), {1, 0, "raw", static_cast<std::uint64_t>(i / 2 + 1)});
  batch.refuse({3, 0, "raw", 3}, "parse", "", "no number");
  batch.encode(4);

  batch.take_out({{0, "range", "value", "too large"}});
  auto refused = batch.leave_refused_rows();

  CHECK(refused == 2);
  CHECK(batch.request()->refused.empty());
  REQUIRE(batch.request()->size() == 2);
  CHECK(batch.request()->origins[0].quarantined == 2);
  CHECK(stored(*batch.request()) == std::vector<std::string>{"e2", "e3"});
}
