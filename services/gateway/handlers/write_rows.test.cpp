#include "services/gateway/test_gateway.hpp"

#include "schemas/feature_store_generated.h"
#include "schemas/ingest_generated.h"

using namespace troupe;
using namespace troupe::gateway;

namespace {

std::vector<record> rows_in(const fake_service::question& asked) {
  const auto* append = net::read_as<wire::Append>(asked.payload, "TRPI", "Append").value();
  auto held = batch::open(chunk::copy({reinterpret_cast<const std::byte*>(append->batch()->data()),
                                       append->batch()->size()}))
                  .value();
  std::vector<record> out;
  for (std::size_t i = 0; i < held.size(); ++i)
    out.push_back(to_record(held[i]));
  return out;
}

chunk verdicts(std::size_t rows, wire::Outcome outcome = wire::Outcome::added, const char* reason = nullptr) {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::RowResult>> made;
  for (std::size_t i = 0; i < rows; ++i)
    made.push_back(wire::CreateRowResultDirect(out, outcome, nullptr, reason));
  auto list = out.CreateVector(made);
  std::vector<wire::PartitionOffset> places{{3, 17}};
  auto offsets = out.CreateVectorOfStructs(places);
  out.Finish(wire::CreateAppendReply(out, list, offsets), "TRPI");
  return bytes_of(out);
}

attribute_value value_of(const record& from, const std::string& name) {
  for (const auto& each : from.attributes)
    if (each.name == name)
      return each.value;
  return {};
}

} // namespace

TEST_CASE("a user is written by PUT and marked as deleted by DELETE, as a record of the log") {
  served_gateway gateway;
  gateway.open();
  std::vector<record> log;
  gateway.ingest.on(wire::Kind::append, [&](const fake_service::question& asked) {
    for (auto& each : rows_in(asked))
      log.push_back(std::move(each));
    return verdicts(1);
  });

  auto put = gateway.ask("PUT", "/v1/users/u%201", R"({"attributes":{"age":30}})");
  auto gone = gateway.ask("DELETE", "/v1/users/u%201");
  auto wrong = gateway.ask("PUT", "/v1/users/u1", R"({"user":"u2"})");

  CHECK(put.status == 200);
  CHECK(header_of(put, "X-Consistency-Token") == "3:17");
  CHECK(gone.status == 200);
  CHECK(problem_of(wrong, "invalid_argument") == 400);
  REQUIRE(log.size() == 2);
  CHECK(log[0].kind == record_kind::user);
  CHECK(log[0].user == "u 1");
  CHECK(value_of(log[0], "age") == attribute_value{30.0});
  CHECK(log[1].user == "u 1");
  CHECK(value_of(log[1], "deleted") == attribute_value{true});
}

TEST_CASE(
    "a row without a time that is sent again with its Idempotency-Key is the same record; without one it "
    "is new") {
  served_gateway gateway;
  gateway.open();
  std::vector<record> log;
  gateway.ingest.on(wire::Kind::append, [&](const fake_service::question& asked) {
    log.push_back(rows_in(asked).at(0));
    return verdicts(1);
  });
  auto post = [&](const std::string& key) {
    http::header_list headers;
    if (!key.empty())
      headers.emplace_back("Idempotency-Key", key);
    auto given = gateway.ask("POST", "/v1/events", R"({"type":"click","user":"u","item":"i"})", headers);
    CHECK(given.status == 200);
    return log.back();
  };

  auto first = post("k"), again = post("k"), other = post("l"), none = post("");

  CHECK(first == again);
  CHECK(other.id != first.id);
  CHECK(none.id != first.id);
  CHECK(post("").id != none.id);
}

TEST_CASE("each row has its verdict: what is no row, what is added, and what the log refuses") {
  served_gateway gateway;
  gateway.open();
  gateway.ingest.on(wire::Kind::append, [](const fake_service::question& asked) {
    CHECK(rows_in(asked).size() == 1);
    return verdicts(1, wire::Outcome::quarantined, "the item is unknown");
  });

  auto many = gateway.good("POST", "/v1/events",
                           R"([{"type":"click"},{"id":"e","type":"click","user":"u","item":"i"}])");
  auto single = gateway.ask("PUT", "/v1/items/i", R"({"attributes":{"title":"x"}})");

  CHECK(many.at("refused") == 2);
  CHECK(text_of(many.at("rows").at(0).at("outcome")) == "invalid");
  CHECK(text_of(many.at("rows").at(1).at("outcome")) == "quarantined");
  CHECK(text_of(many.at("rows").at(1).at("reason")) == "the item is unknown");
  CHECK(problem_of(single, "invalid_argument") == 422);
}

TEST_CASE("more rows than max_rows are 413, and another number of verdicts than of rows is an error") {
  served_gateway gateway;
  gateway.settings->max_rows = 1;
  gateway.open();
  gateway.ingest.on(wire::Kind::append, [](const fake_service::question&) { return verdicts(2); });
  const std::string row = R"({"id":"e","type":"click","user":"u","item":"i"})";

  CHECK(problem_of(gateway.ask("POST", "/v1/events", "[" + row + "," + row + "]"), "too_large") == 413);
  CHECK(problem_of(gateway.ask("POST", "/v1/events", row), "corrupt") == 502);
}

TEST_CASE("the attributes of a user are those of the newest record; one who was deleted is unknown") {
  served_gateway gateway;
  gateway.open();
  bool deleted = false;
  gateway.features.on(wire::Kind::read_features, [&](const fake_service::question& asked) {
    const auto& read = **net::read_as<wire::ReadFeatures>(asked.payload, "TRPF", "ReadFeatures");
    CHECK(read.entity()->str() == "user");
    REQUIRE(read.features()->size() == 1);
    CHECK(read.features()->Get(0)->str() == "user_record.attributes");
    flatbuffers::FlatBufferBuilder out;
    auto name = out.CreateString("user_record.attributes");
    std::vector<std::uint8_t> state(1, deleted ? 0 : 1), gone(1, deleted);
    auto status = out.CreateVector(state);
    auto ages = out.CreateVector(std::vector<std::int64_t>{5});
    auto texts = out.CreateVectorOfStrings({R"({"name":"Ada"})"});
    wire::FeatureColumnBuilder column{out};
    column.add_name(name);
    column.add_status(flatbuffers::Offset<flatbuffers::Vector<wire::FeatureStatus>>{status.o});
    column.add_age_us(ages);
    column.add_texts(texts);
    std::vector<flatbuffers::Offset<wire::FeatureColumn>> columns{column.Finish()};
    auto list = out.CreateVector(columns);
    auto marks = out.CreateVector(gone);
    wire::FeaturesBuilder made{out};
    made.add_columns(list);
    made.add_deleted(marks);
    out.Finish(made.Finish(), "TRPF");
    return bytes_of(out);
  });

  auto there = gateway.good("GET", "/v1/users/u");
  deleted = true;
  auto gone = gateway.ask("GET", "/v1/users/u");

  CHECK(text_of(there.at("attributes").at("name")) == "Ada");
  CHECK(there.at("age_us") == 5);
  CHECK(problem_of(gone, "not_found") == 404);
}
