#include "services/ingest/sources/source_actor.hpp"

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

  expected<admission_ptr> next() override {
    if (state_.rows + batch_size > breaks_at_)
      return fail(broken_, "the file is cut off at row {}", state_.rows);
    auto batch = std::make_shared<admission>("import/x/counting", state_.records);
    auto& request = *batch->request();
    request.source = "counting";
    request.source_key = "import/x/counting";
    request.batch = state_.batches++;
    for (std::size_t i = 0; i < batch_size && state_.rows < total_; ++i) {
      auto number = ++state_.rows;
      record rec;
      rec.id = "e" + std::to_string(number);
      rec.type = "view";
      rec.user = "u" + std::to_string(number % 7);
      rec.item = "i";
      row_origin origin{number, 0, rec.id};
      batch->add(std::move(rec), std::move(origin));
    }
    state_.records += request.records.size();
    state_.position = std::to_string(state_.rows);
    state_.done = request.records.empty();
    request.progress = state_;
    request.progress.added = {};
    return batch;
  }

private:
  source_state state_;
  std::size_t total_, breaks_at_;
  ec broken_;
};

struct world {
  metrics::registry numbers;
  testing::temp_dir dir;
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {}).value();
  std::unique_ptr<blocking_pool> readers =
      std::make_unique<blocking_pool>(blocking_pool::options{"reader"}, numbers);

  /// Runs a source to its end and gives its last report.
  source_report run(validate_function validate, std::size_t total = 1000, std::size_t breaks_at = 1'000'000,
                    ec broken = ec::corrupt, std::size_t stop_after = 0) {
    caf::actor_system_config config;
    config.set("scheduler.max-threads", 2);
    caf::actor_system system{config};
    std::promise<source_report> promise;
    auto handle = std::make_shared<std::promise<source_actor>>();
    auto self = handle->get_future().share();
    source_deps setup;
    setup.log = log;
    setup.readers = readers.get();
    setup.validate = std::move(validate);
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

  auto report = w.run(validate_alone());

  CHECK_FALSE(report.failure.has_value());
  CHECK(report.state.done);
  CHECK(report.state.added.events == 1000);
  CHECK(w.log->state().total.events == 1000);
}

TEST_CASE("a source that was stopped goes on where it was, with the same result") {
  world w;

  auto first = w.run(validate_alone(), 1000, 1'000'000, ec::corrupt, 200);
  auto second = w.run(validate_alone());

  REQUIRE(first.failure.has_value());
  CHECK(first.failure->code == ec::canceled);
  CHECK(first.state.rows < 1000);
  CHECK(second.state.rows == 1000);
  CHECK(second.state.added.duplicates == 0);
  CHECK(w.log->state().total.events == 1000);
}

TEST_CASE("a broken file fails after everything before the broken place was kept") {
  world w;

  auto report = w.run(validate_alone(), 1000, 505, ec::corrupt);

  REQUIRE(report.failure.has_value());
  CHECK(report.failure->code == ec::corrupt);
  CHECK(report.state.rows == 500);
  CHECK(w.log->state().total.events == 500);
}

TEST_CASE("rows that the validator refuses go to quarantine with their position, the others to the log") {
  world w;
  auto validate = [](validation_request request, validation_done done) {
    CHECK(request.first_record % batch_size == 0);
    CHECK(batch::open(request.batch).value().size() == batch_size);
    done(std::vector<row_violation>{{3, "range", "value", "too large"},
                                    {3, "set", "type", "twice refused counts once"}});
  };

  auto report = w.run(validate, 100);

  CHECK(report.state.added.events == 90);
  CHECK(report.state.added.quarantined == 10);
  auto rows = w.log->quarantine().list({}).value();
  REQUIRE(rows.size() == 10);
  CHECK(rows[1].row == 14);
  CHECK(rows[1].raw == "e14");
  CHECK(rows[1].rule == "range");
}

TEST_CASE("a validator that is away is waited for, and nothing is skipped") {
  world w;
  auto failures = std::make_shared<std::atomic<int>>(0);
  auto validate = [failures](validation_request, validation_done done) {
    if (failures->fetch_add(1) % 2 == 0)
      return done(fail(ec::unavailable, "nobody listens"));
    done(std::vector<row_violation>{});
  };

  auto report = w.run(validate, 100);

  CHECK_FALSE(report.failure.has_value());
  CHECK(report.state.added.events == 100);
}

TEST_CASE("a validator that says never ends the source") {
  world w;

  auto report =
      w.run([](validation_request, validation_done done) { done(fail(ec::invalid_argument, "no schema")); });

  REQUIRE(report.failure.has_value());
  CHECK(report.failure->code == ec::invalid_argument);
  CHECK(w.log->state().total.events == 0);
}
