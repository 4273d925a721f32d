#include "common/metrics/metrics.hpp"

#include <doctest/doctest.h>

using namespace troupe;

TEST_CASE("metrics come out in the text format of Prometheus") {
  metrics::registry registry;
  registry.counter("troupe_rows_total", "Rows.", {{"outcome", "added"}}).add(3);
  registry.gauge("troupe_lag", "Lag.").set(-2);
  registry.histogram("troupe_seconds", "Time.", {}, {0.1, 1}).observe(0.5);

  auto text = registry.text();

  CHECK(text.find("troupe_rows_total{outcome=\"added\"} 3") != std::string::npos);
  CHECK(text.find("# TYPE troupe_lag gauge") != std::string::npos);
  CHECK(text.find("troupe_seconds_bucket{le=\"1\"} 1") != std::string::npos);
  CHECK(text.find("process_resident_memory_bytes") != std::string::npos);
}

TEST_CASE("the same name and labels are the same metric") {
  metrics::registry registry;

  registry.counter("troupe_a_total", "A.", {{"by", "x"}}).add();
  registry.counter("troupe_a_total", "A.", {{"by", "x"}}).add();
  registry.counter("troupe_a_total", "A.", {{"by", "y"}}).add();

  CHECK(registry.counter("troupe_a_total", "A.", {{"by", "x"}}).value() == 2);
}

TEST_CASE("gauges can be computed when somebody reads") {
  metrics::registry registry;
  auto gauge = registry.gauge("troupe_on_demand", "Computed.");
  registry.on_read([gauge]() mutable { gauge.set(42); });

  CHECK(registry.text().find("troupe_on_demand 42") != std::string::npos);
}

TEST_CASE("a handle without a registry counts into nothing") {
  metrics::counter counter;
  counter.add();
  CHECK(counter.value() == 0);
}

TEST_CASE("a counter follows a total that somebody else counts") {
  metrics::registry registry;
  auto counter = registry.counter("troupe_followed_total", "Followed.");

  counter.advance_to(5);
  counter.advance_to(3);
  counter.advance_to(7);

  CHECK(counter.value() == 7);
}
