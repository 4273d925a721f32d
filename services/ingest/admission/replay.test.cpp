#include "services/ingest/admission/replay.hpp"

#include "services/ingest/import_plan.hpp"
#include "services/ingest/log/log_layout.hpp"
#include "services/ingest/testing/requests.hpp"

#include "common/table/connection.hpp"
#include "common/testing/temp_dir.hpp"

#include <fstream>
#include <map>

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
  replay_result replay(const validate_function& validate = validate_alone(), const replay_query& query = {}) {
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

  CHECK(w.replay(validate_alone(), {.numbers = {2}}).accepted == 1);
  CHECK(w.replay(validate_alone(), {.source = "a"}).accepted == 1);
  CHECK(w.replay().accepted == 1);
  CHECK(w.open() == 0);
}

TEST_CASE("a replay ends with its deadline, and when the validator is away, with nothing half done") {
  refused_rows w;
  w.add("http", 1, to_json(event(1)));
  auto away = [](const validation_request&, const validation_done& done) {
    done(fail(ec::unavailable, "nobody listens"));
  };

  auto late = replay_quarantine(*w.log, validate_alone(), {}, deadline::in(0s));
  auto failed = replay_quarantine(*w.log, away, {}, deadline::in(20s));

  CHECK(late.error().code == ec::too_late);
  CHECK(failed.error().code == ec::unavailable);
  CHECK(w.open() == 1);
  CHECK(w.replay().accepted == 1);
}

TEST_CASE(
    "a row dated ahead of the clock waits in quarantine until its time has come, or its mapping lets it in") {
  refused_rows w;
  auto ahead = event(1);
  ahead.event_time = wall_now() + std::chrono::hours{24};
  auto near = event(2);
  near.event_time = wall_now() + std::chrono::minutes{30};
  w.add("http", 1, to_json(ahead));
  w.add("http", 2, to_json(near));
  import_plan plan;
  plan.id = "x";
  plan.path = (w.dir / "a.csv").string();
  plan.mapping =
      "[[file]]\npattern = \"*.csv\"\nmax_ahead = \"2d\"\n[[file.record]]\nkind = \"event\"\ntype = { "
      "constant = \"t\" }\nuser = \"u\"\nitem = \"i\"\nevent_time = \"at\"\n";
  std::ofstream{plan.path} << "u,i,at\n";
  REQUIRE(w.log->metadata().put(import_key("x"), encode(plan)));
  append_request request;
  request.source = plan.path;
  request.import = "x";
  request.refused.push_back(
      {plan.path, "x", 1, 0, "max_ahead", "event_time", "too far", "u,i," + to_rfc3339(ahead.event_time)});
  REQUIRE(w.log->append(request).has_value());

  auto result = w.replay();

  CHECK(result.accepted == 2);
  CHECK(result.refused == 1);
  auto open = w.log->quarantine().list({.open_only = true}).value();
  REQUIRE(open.size() == 1);
  CHECK(open[0].row == 1);
  CHECK(open[0].source == "http");
}

TEST_CASE("a mended mapping that reads columns of Parquet which were not kept replays none of its rows") {
  refused_rows w;
  auto mapping = [](const std::string& type, const std::string& more = {}) {
    return "[[file]]\npattern = \"*.parquet\"\n[[file.record]]\nkind = \"event\"\ntype = { constant = \"" +
           type + "\" }\nuser = \"u\"\nitem = \"i\"\nevent_time = \"at\"\n" + more;
  };
  import_plan plan;
  plan.id = "x";
  plan.path = (w.dir / "a.parquet").string();
  plan.mapping = mapping("wrong");
  auto base = table::connection::open({.threads = 1});
  REQUIRE(base->run("COPY (SELECT 'u1' AS u, 'i1' AS i, 1700000000 AS at, {'amount': 7} AS price) TO " +
                    table::sql_text(plan.path) + " (FORMAT parquet)"));
  REQUIRE(w.log->metadata().put(import_key("x"), encode(plan)));
  append_request request;
  request.source = plan.path;
  request.import = "x";
  request.refused.push_back(
      {plan.path, "x", 1, 0, "set", "type", "not this one", R"({"u":"u1","i":"i1","at":1700000000})"});
  REQUIRE(w.log->append(request).has_value());

  auto more = w.replay(validate_alone(), {.mapping = mapping("right", "value = \"price.amount\"\n")});

  CHECK(more.accepted == 0);
  CHECK(more.refused == 1);
  CHECK(w.open() == 1);
  CHECK(w.replay(validate_alone(), {.mapping = mapping("right", "request_id = \"u\"\n")}).accepted == 1);
}

TEST_CASE("rows and records of a file whose rows are joined are replayed each as what it was kept as") {
  refused_rows w;
  import_plan plan;
  plan.id = "x";
  plan.path = (w.dir / "pages.jsonl").string();
  plan.mapping =
      "[[file]]\npattern = \"*.jsonl\"\n[[file.record]]\nkind = \"slate\"\nslate_by = \"session\"\n"
      "user = \"user\"\nitem = \"item\"\nevent_time = \"at\"\n"
      "[file.record.attributes]\ndevice = \"kind\"\n";
  std::ofstream{plan.path} << "";
  REQUIRE(w.log->metadata().put(import_key("x"), encode(plan)));
  std::string own = R"({"kind":"slate","id":")",
              shown = R"(","user":"u","shown":[{"item":"a"},{"item":"b"}])",
              time = R"(,"event_time":"2024-01-01T00:00:00Z"})";
  append_request request;
  request.source = plan.path;
  request.import = "x";
  auto add = [&](raw_kind is, const std::string& raw) {
    request.refused.push_back(
        {plan.path, "x", request.refused.size() + 1, 0, "range", "item", "why", raw, is});
  };
  // A row of the file may begin as our records do.
  add(raw_kind::row, R"({"kind":"phone","session":"s1","user":"u","item":"a","at":1700000000})");
  add(raw_kind::record, own + "r1" + shown + time);
  add(raw_kind::unsaid, own + "r2" + shown + time);
  add(raw_kind::record, own + "r3" + shown + "}"); // Mended, and its time lost.
  REQUIRE(w.log->append(request).has_value());

  auto result = w.replay();

  CHECK(result.accepted == 3);
  CHECK(result.refused == 1);
  CHECK(w.open() == 1);
  auto page = w.log->fetch(partition_of("u", w.log->partitions()), 0, 1 << 20).value();
  std::vector<record> found;
  for (auto& bytes : page.batches) {
    auto block = batch::open(bytes).value();
    for (std::size_t i = 0; i < block.size(); ++i)
      found.push_back(to_record(block[i]));
  }
  REQUIRE(found.size() == 3);
  CHECK(found[0].attributes == std::vector<attribute>{{"device", std::string{"phone"}}});
  CHECK(found[0].shown == std::vector<shown_item>{{"a", 0, 1}});
  CHECK(found[1].id == "r1");
  CHECK(found[2].id == "r2");
  CHECK(found[2].shown.size() == 2);
}

TEST_CASE("a quarantined row of a version that did not say what its bytes are is read as such") {
  quarantined_row row;
  row.raw = "a,b";
  row.number = 7;
  auto bytes = encode(row);

  auto before = decode_row(std::string_view{bytes}.substr(0, bytes.size() - 8));

  CHECK(decode_row(bytes).raw_is == raw_kind::row);
  CHECK(before.raw_is == raw_kind::unsaid);
  CHECK(before.raw == "a,b");
}

TEST_CASE(
    "a record without a time has the instant of its import when it is replayed; one that was sent, of its "
    "refusal: nothing written since is older than it") {
  refused_rows w;
  import_plan plan;
  plan.id = "x";
  plan.path = (w.dir / "items.jsonl").string();
  plan.started = from_micros(1'700'000'000'000'000);
  std::ofstream{plan.path} << "";
  REQUIRE(w.log->metadata().put(import_key("x"), encode(plan)));
  append_request request;
  request.source = plan.path;
  request.import = "x";
  request.refused.push_back(
      {plan.path, "x", 1, 0, "range", "value", "too large", R"({"kind":"item","id":"n1","item":"i1"})"});
  REQUIRE(w.log->append(request).has_value());
  record sent;
  sent.kind = record_kind::item;
  sent.id = "n2";
  sent.item = "i2";
  sent.untimed = true;
  sent.event_time = from_micros(7);
  auto before = wall_now();
  w.add("http", 1, to_json(sent));

  CHECK(w.replay().accepted == 2);

  std::map<std::string, record> found;
  for (std::uint32_t p = 0; p < w.log->partitions(); ++p) {
    auto page = w.log->fetch(p, 0, 1 << 20).value();
    for (auto& bytes : page.batches) {
      auto block = batch::open(bytes).value();
      for (std::size_t i = 0; i < block.size(); ++i)
        found[std::string{text_of(block[i].item())}] = to_record(block[i]);
    }
  }
  REQUIRE(found.size() == 2);
  CHECK_FALSE(found["i1"].untimed);
  CHECK(found["i1"].event_time == plan.started);
  CHECK_FALSE(found["i2"].untimed);
  CHECK(found["i2"].event_time >= before);
  append_request again;
  again.records = {sent};
  CHECK(w.log->append(again)->added.duplicates == 1);
}
