#include "services/ingest/log_metrics.hpp"

#include "services/ingest/testing/requests.hpp"

#include "common/actor/actor_fixture.hpp"
#include "common/testing/temp_dir.hpp"

using namespace troupe;
using namespace troupe::ingest;
using namespace troupe::ingest::testing;

namespace {

struct measured : troupe::testing::actor_fixture {
  metrics::registry numbers;
  troupe::testing::temp_dir dir;
  std::shared_ptr<event_log> log = event_log::open(dir / "log", {}).value();
  std::shared_ptr<health> well = health::make("ingest", 0);
  log_metrics_actor actor = own(spawn_log_metrics(system, {log, &numbers, health::add(well, "log_metrics")}));

  measured() { run(); }
  ~measured() {
    caf::anon_send_exit(actor, caf::exit_reason::kill);
    run();
  }
  void append(std::vector<record> records, std::vector<rejected_row> refused = {}) {
    append_request request;
    request.records = std::move(records);
    request.refused = std::move(refused);
    REQUIRE(log->append(request).has_value());
  }
  bool shows(const std::string& line) { return numbers.text().find("\n" + line + "\n") != std::string::npos; }
  double gauge(std::string_view name) {
    for (auto& [each, value] : well->read().gauges)
      if (each == name)
        return value;
    FAIL("no gauge ", name);
    return 0;
  }
};

} // namespace

TEST_CASE_FIXTURE(measured, "the metrics follow the log once a second") {
  auto early = event(0);
  early.event_time = from_micros(1);
  append({event(1), event(2), early, event(2)}, {{"f", "", 1, 0, "range", "value", "too large", "raw"}});

  CHECK(shows("troupe_ingest_records_total{kind=\"event\"} 0"));
  advance(1s);

  CHECK(shows("troupe_ingest_records_total{kind=\"event\"} 3"));
  CHECK(shows("troupe_ingest_records_total{kind=\"item\"} 0"));
  CHECK(shows("troupe_ingest_duplicate_records_total 1"));
  CHECK(shows("troupe_ingest_quarantined_rows_total 1"));
  CHECK(shows("troupe_ingest_late_events_total 1"));
  CHECK(shows("troupe_ingest_unsealed_records 3"));
  CHECK(shows("troupe_ingest_queued_bytes 0"));
  CHECK(gauge("records_per_second") == doctest::Approx(3));
}

TEST_CASE_FIXTURE(measured, "the time since the log has grown is told, and begins anew with each append") {
  advance(7s);
  CHECK(shows("troupe_ingest_last_append_age_seconds 7"));

  append({event(1)});
  advance(1s);
  CHECK(shows("troupe_ingest_last_append_age_seconds 0"));
  append({event(1)}); // A duplicate adds nothing.
  advance(2s);

  CHECK(shows("troupe_ingest_last_append_age_seconds 2"));
  CHECK(gauge("last_append_age_seconds") == doctest::Approx(2));
}
