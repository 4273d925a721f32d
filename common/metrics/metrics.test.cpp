#include "common/metrics/metrics.hpp"

#include <doctest/doctest.h>

using namespace troupe;

TEST_CASE("metrics come out in the text format of Prometheus") {
  metrics::registry registry;
  registry.counter("troupe_rows_total", "Rows.", {{"outcome", "added"}}).add(3);
  registry.gauge("troupe_lag", "Lag.").set(-2);
  registry.histogram("troupe_seconds", "Time.", {}, {0.1, 1}).observe(0.5);

  auto text = registry.text();

  for (const char* block :
       {"# HELP troupe_rows_total Rows.\n# TYPE troupe_rows_total "
        "counter\ntroupe_rows_total{outcome=\"added\"} 3\n",
        "# HELP troupe_lag Lag.\n# TYPE troupe_lag gauge\ntroupe_lag -2\n",
        "# TYPE troupe_seconds histogram\ntroupe_seconds_count 1\ntroupe_seconds_sum 0.5\n"
        "troupe_seconds_bucket{le=\"0.1\"} 0\ntroupe_seconds_bucket{le=\"1\"} 1\n"
        "troupe_seconds_bucket{le=\"+Inf\"} 1\n",
        "\nprocess_resident_memory_bytes ", "\nprocess_cpu_seconds_total ", "\nprocess_start_time_seconds "})
    CHECK_MESSAGE(text.find(block) != std::string::npos, block, "\nin\n", text);
}

TEST_CASE("the same name and labels are the same metric") {
  metrics::registry registry;

  registry.counter("troupe_a_total", "A.", {{"by", "x"}}).add();
  registry.counter("troupe_a_total", "A.", {{"by", "x"}}).add();
  registry.counter("troupe_a_total", "A.", {{"by", "y"}}).add();

  CHECK(registry.counter("troupe_a_total", "A.", {{"by", "x"}}).value() == 2);
}

TEST_CASE("gauges can be computed each time that somebody reads") {
  metrics::registry registry;
  auto gauge = registry.gauge("troupe_on_demand", "Computed.");
  registry.on_read([gauge]() mutable { gauge.add(21); });

  CHECK(registry.text().find("\ntroupe_on_demand 21\n") != std::string::npos);
  CHECK(registry.text().find("\ntroupe_on_demand 42\n") != std::string::npos);
}

TEST_CASE("a handle without a registry counts into nothing, until it is given one of a registry") {
  metrics::registry registry;
  metrics::counter counter;
  metrics::gauge gauge;
  metrics::histogram histogram;

  counter.add(2);
  gauge.set(2);
  histogram.observe(2);
  CHECK(counter.value() == 0);
  CHECK(gauge.value() == 0);

  counter = registry.counter("troupe_a_total", "A.");
  gauge = registry.gauge("troupe_b", "B.");
  histogram = registry.histogram("troupe_c_seconds", "C.");
  counter.add(3);
  gauge.set(4);
  histogram.observe(5);
  auto text = registry.text();
  CHECK(text.find("\ntroupe_a_total 3\n") != std::string::npos);
  CHECK(text.find("\ntroupe_b 4\n") != std::string::npos);
  CHECK(text.find("\ntroupe_c_seconds_sum 5\n") != std::string::npos);
}

TEST_CASE("a counter follows a total that somebody else counts") {
  metrics::registry registry;
  auto counter = registry.counter("troupe_followed_total", "Followed.");

  counter.advance_to(5);
  counter.advance_to(3);
  counter.advance_to(7);

  CHECK(counter.value() == 7);
}
