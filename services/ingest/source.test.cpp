#include "services/ingest/source.hpp"

#include "services/ingest/lake.hpp"
#include "services/ingest/replay.hpp"

#include "common/testing/temp_dir.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <doctest/doctest.h>

#include <fstream>
#include <future>

using namespace troupe;
using namespace troupe::ingest;

namespace {

constexpr std::size_t batch_size = 10;

/// `total` events in batches of ten; fails with `broken` in place of the batch that would hold event
/// `breaks_at`.
class counting_source final : public batch_source {
public:
  counting_source(const source_state& from, std::size_t total, std::size_t breaks_at, ec broken)
      : state_{from}, total_{total}, breaks_at_{breaks_at}, broken_{broken} {}

  expected<source_batch> next() override {
    if (state_.rows + batch_size > breaks_at_)
      return fail(broken_, "the file is cut off at row {}", state_.rows);
    source_batch result;
    auto request = std::make_shared<append_request>();
    request->source = "counting";
    request->source_key = "import/x/counting";
    request->batch = state_.batches++;
    result.first_record = state_.records;
    for (std::size_t i = 0; i < batch_size && state_.rows < total_; ++i) {
      auto number = ++state_.rows;
      record rec;
      rec.id = "e" + std::to_string(number);
      rec.type = "view";
      rec.user = "u" + std::to_string(number % 7);
      rec.item = "i";
      request->origins.push_back({number, 0, rec.id});
      request->records.push_back(std::move(rec));
    }
    state_.records += request->records.size();
    state_.position = std::to_string(state_.rows);
    state_.done = request->records.empty();
    request->progress = state_;
    request->progress.added = {};
    if (!request->records.empty())
      result.encoded = encode_batch(std::span<const record>{request->records});
    result.request = std::move(request);
    return result;
  }

private:
  source_state state_;
  std::size_t total_, breaks_at_;
  ec broken_;
};

struct world {
  testing::temp_dir dir;
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {}).value();
  std::shared_ptr<worker_pool> readers = std::make_shared<worker_pool>(1);

  /// Runs a source to its end and gives its last report.
  source_report run(judge_function judge, std::size_t total = 1000, std::size_t breaks_at = 1'000'000,
                    ec broken = ec::corrupt, std::size_t stop_after = 0) {
    caf::actor_system_config config;
    config.set("scheduler.max-threads", 2);
    caf::actor_system system{config};
    std::promise<source_report> promise;
    auto handle = std::make_shared<std::promise<source_actor>>();
    auto self = handle->get_future().share();
    source_setup setup;
    setup.log = log;
    setup.readers = readers;
    setup.judge = std::move(judge);
    setup.open = [=](const source_state& from) -> expected<std::unique_ptr<batch_source>> {
      return std::unique_ptr<batch_source>{new counting_source{from, total, breaks_at, broken}};
    };
    setup.report = [&promise, self, stop_after](source_report report) {
      if (report.finished)
        promise.set_value(std::move(report));
      else if (stop_after > 0 && report.state.rows >= stop_after)
        caf::anon_send(self.get(), stop_atom::value);
    };
    setup.key = "import/x/counting";
    setup.import = "x";
    setup.longest_backoff = std::chrono::milliseconds{100};
    handle->set_value(spawn_source(system, std::move(setup)));
    auto report = promise.get_future().get();
    handle.reset();
    return report;
  }
};

} // namespace

TEST_CASE("a source is taken to its end, and once only") {
  world w;

  auto report = w.run(judge_nothing());

  CHECK_FALSE(report.failure.has_value());
  CHECK(report.state.done);
  CHECK(report.state.added.events == 1000);
  CHECK(w.log->state().total.events == 1000);
}

TEST_CASE("a source that was stopped goes on where it was, with the same result") {
  world w;

  auto first = w.run(judge_nothing(), 1000, 1'000'000, ec::corrupt, 200);
  auto second = w.run(judge_nothing());

  REQUIRE(first.failure.has_value());
  CHECK(first.failure->code == ec::canceled);
  CHECK(first.state.rows < 1000);
  CHECK(second.state.rows == 1000);
  CHECK(second.state.added.duplicates == 0);
  CHECK(w.log->state().total.events == 1000);
}

TEST_CASE("a broken file fails after everything before the broken place was kept") {
  world w;

  auto report = w.run(judge_nothing(), 1000, 505, ec::corrupt);

  REQUIRE(report.failure.has_value());
  CHECK(report.failure->code == ec::corrupt);
  CHECK(report.state.rows == 500);
  CHECK(w.log->state().total.events == 500);
}

TEST_CASE("rows that the judge refuses go to quarantine with their position, the others to the log") {
  world w;
  auto judge = [](judge_question question, judge_answer answer) {
    CHECK(question.first_row % batch_size == 0);
    CHECK(batch::open(question.batch).value().size() == batch_size);
    answer(std::vector<verdict>{{3, "range", "value", "too large"},
                                {3, "set", "type", "twice refused counts once"}});
  };

  auto report = w.run(judge, 100);

  CHECK(report.state.added.events == 90);
  CHECK(report.state.added.quarantined == 10);
  auto rows = w.log->quarantined({}).value();
  REQUIRE(rows.size() == 10);
  CHECK(rows[1].row == 14);
  CHECK(rows[1].raw == "e14");
  CHECK(rows[1].rule == "range");
}

TEST_CASE("a judge that is away is waited for, and nothing is skipped") {
  world w;
  auto failures = std::make_shared<std::atomic<int>>(0);
  auto judge = [failures](judge_question, judge_answer answer) {
    if (failures->fetch_add(1) % 2 == 0)
      return answer(fail(ec::unavailable, "nobody listens"));
    answer(std::vector<verdict>{});
  };

  auto report = w.run(judge, 100);

  CHECK_FALSE(report.failure.has_value());
  CHECK(report.state.added.events == 100);
}

TEST_CASE("a judge that says never ends the source") {
  world w;

  auto report =
      w.run([](judge_question, judge_answer answer) { answer(fail(ec::invalid_argument, "no schema")); });

  REQUIRE(report.failure.has_value());
  CHECK(report.failure->code == ec::invalid_argument);
  CHECK(w.log->state().total.events == 0);
}

TEST_CASE("the lake reads back equal to the log, and a seal can be repeated after a crash") {
  world w;
  w.run(judge_nothing(), 5000);
  lake into{w.log, w.dir / "lake", 300};
  // What a crash between the file and its record leaves.
  std::filesystem::create_directories(w.dir / "lake/partition=3");
  std::ofstream{w.dir / "lake/partition=3/00000000000000000000-00000000000000000017.parquet"} << "half";

  REQUIRE(into.seal(false).has_value());
  auto full = w.log->segments().value();
  auto sealed = into.seal(true);
  REQUIRE_MESSAGE(sealed.has_value(), (sealed ? "" : render(sealed.error())));
  REQUIRE(into.seal(true).has_value());

  auto segments = w.log->segments().value();
  auto fetch = [&](std::uint32_t p, std::uint64_t offset) { return w.log->fetch(p, offset, 1000); };
  std::uint64_t records = 0;
  for (auto& each : segments) {
    auto equal = verify_segment(w.dir / "lake" / each.path, each, fetch);
    CHECK_MESSAGE(equal.has_value(), (equal ? "" : render(equal.error())));
    records += each.next - each.first;
  }
  CHECK(records == 5000);
  CHECK(full.size() < segments.size());
  CHECK_FALSE(
      std::filesystem::exists(w.dir / "lake/partition=3/00000000000000000000-00000000000000000017.parquet") ==
      (w.log->next_offset(3) > 0));
  auto wrong = segments.front();
  wrong.next -= 1;
  CHECK(verify_segment(w.dir / "lake" / wrong.path, wrong, fetch).error().code == ec::corrupt);
}

TEST_CASE("sent records that were refused can be replayed once the rule is gone") {
  world w;
  record rec;
  rec.id = "a";
  rec.type = "view";
  rec.user = "u";
  rec.item = "i";
  rec.event_time = from_micros(1'700'000'000'000'000);
  rec.value = 4.5;
  rec.attributes = {{"n", 1.0}, {"t", std::string{"x \"y\""}}};
  append_request request;
  request.source = "http";
  request.refused.push_back({"http", "", 1, 0, "range", "value", "too large", to_json(rec)});
  request.refused.push_back({"http", "", 2, 0, "range", "value", "too large", "{\"kind\":\"event\"}"});
  REQUIRE(w.log->append(request).has_value());

  auto result = replay_quarantine(*w.log, judge_nothing(), {}, deadline::in(std::chrono::seconds{30}));

  REQUIRE_MESSAGE(result.has_value(), (result ? "" : render(result.error())));
  CHECK(result->accepted == 1);
  CHECK(result->refused == 1);
  CHECK(w.log->state().total.events == 1);
  CHECK(w.log->quarantined({.open_only = true}).value().size() == 1);
  auto p = partition_of("u", 8);
  auto back = to_record(batch::open(w.log->fetch(p, 0, 1).value().batches.at(0)).value()[0]);
  back.ingest_time = {};
  CHECK(back == rec);
}
