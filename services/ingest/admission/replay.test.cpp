#include "services/ingest/admission/replay.hpp"

#include "services/ingest/testing/requests.hpp"

#include "common/testing/temp_dir.hpp"

using namespace troupe;
using namespace troupe::ingest;
using namespace troupe::ingest::testing;

namespace {

struct refused_rows {
  troupe::testing::temp_dir dir;
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {}).value();

  /// Rows that were sent and refused, by source.
  void add(const std::string& source, std::uint64_t row, const std::string& raw) {
    append_request request;
    request.source = source;
    request.refused.push_back({source, "", row, 0, "range", "value", "too large", raw});
    REQUIRE(log->append(request).has_value());
  }
  replay_result replay(const validate_function& validate = validate_nothing(),
                       const replay_query& query = {}) {
    auto result = replay_quarantine(*log, validate, query, deadline::in(20s));
    REQUIRE_MESSAGE(result, result.error().text);
    return *result;
  }
  std::size_t open() { return log->quarantine().list({.open_only = true})->size(); }
};

} // namespace

TEST_CASE("sent records that were refused can be replayed once the rule is gone") {
  refused_rows w;
  auto rec = event(1);
  rec.value = 4.5;
  rec.attributes = {{"n", 1.0}, {"t", std::string{"x \"y\""}}};
  w.add("http", 1, to_json(rec));
  w.add("http", 2, "{\"kind\":\"event\"}");

  auto result = w.replay();

  CHECK(result.accepted == 1);
  CHECK(result.refused == 1);
  CHECK(w.log->state().total.events == 1);
  CHECK(w.open() == 1);
  auto p = partition_of("u", 8);
  auto back = to_record(batch::open(w.log->fetch(p, 0, 1).value().batches.at(0)).value()[0]);
  back.ingest_time = {};
  CHECK(back == rec);
}

TEST_CASE("a row that breaks a rule again stays as it is, and is not refused a second time") {
  refused_rows w;
  for (int i = 0; i < 5; ++i)
    w.add("http", static_cast<std::uint64_t>(i) + 1, to_json(event(i)));
  std::size_t asked = 0;
  auto validate = [&](validation_request request, validation_done done) {
    asked = batch::open(request.batch)->size();
    done(std::vector<row_violation>{{2, "set", "type", "not this one"}});
  };

  auto result = w.replay(validate);

  CHECK(asked == 5); // Rows of one source are validated together.
  CHECK(result.accepted == 4);
  CHECK(result.refused == 1);
  auto open = w.log->quarantine().list({.open_only = true}).value();
  REQUIRE(open.size() == 1);
  CHECK(open[0].number == 3);
  CHECK(open[0].rule == "range");
  CHECK(w.log->state().quarantine_next == 6);
}

TEST_CASE(
    "a row whose records are in the log already counts as a duplicate, one with other content is refused") {
  refused_rows w;
  append_request request;
  request.records = {event(1), event(2)};
  REQUIRE(w.log->append(request).has_value());
  auto other = event(2);
  other.item = "another";
  w.add("http", 1, to_json(event(1)));
  w.add("http", 2, to_json(other));

  auto result = w.replay();

  CHECK(result.duplicates == 1);
  CHECK(result.refused == 1);
  CHECK(result.accepted == 0);
  CHECK(w.log->state().total.events == 2);
}

TEST_CASE("only the rows that were asked for are replayed, of every source") {
  refused_rows w;
  w.add("a", 1, to_json(event(1)));
  w.add("b", 1, to_json(event(2)));
  w.add("b", 2, to_json(event(3)));

  CHECK(w.replay(validate_nothing(), {.numbers = {2}}).accepted == 1);
  CHECK(w.replay(validate_nothing(), {.source = "a"}).accepted == 1);
  CHECK(w.replay().accepted == 1);
  CHECK(w.open() == 0);
}

TEST_CASE("a replay ends with its deadline, and when the validator is away, with nothing half done") {
  refused_rows w;
  w.add("http", 1, to_json(event(1)));
  auto away = [](const validation_request&, const validation_done& done) {
    done(fail(ec::unavailable, "nobody listens"));
  };

  auto late = replay_quarantine(*w.log, validate_nothing(), {}, deadline::in(0s));
  auto failed = replay_quarantine(*w.log, away, {}, deadline::in(20s));

  CHECK(late.error().code == ec::too_late);
  CHECK(failed.error().code == ec::unavailable);
  CHECK(w.open() == 1);
  CHECK(w.replay().accepted == 1);
}
