#pragma once

#include "common/metrics/metrics.hpp"

namespace troupe::registry {

/// What the quality gate said of one kind of thing. Counts what is new: asking again is the same
/// registration.
struct gate_counters {
  metrics::counter passed, skipped, stopped;

  gate_counters() = default;
  gate_counters(metrics::registry& in, const char* what)
      : passed{counter_of(in, what, "passed")}, skipped{counter_of(in, what, "skipped")}, stopped{counter_of(
                                                                                              in, what,
                                                                                              "stopped")} {}

private:
  static metrics::counter counter_of(metrics::registry& in, const char* what, const char* verdict) {
    return in.counter("troupe_registry_gate_verdicts_total",
                      "Model versions and releases by what the quality gate said; skipped: it would have "
                      "stopped them and was not asked.",
                      {{"of", what}, {"verdict", verdict}});
  }
};

/// The metrics of this service, by name; without a registry they count into nothing.
struct service_metrics {
  gate_counters models, releases;
  metrics::counter artefact_bytes;

  service_metrics() = default;
  explicit service_metrics(metrics::registry& in)
      : models{in, "model"}, releases{in, "release"}, artefact_bytes{in.counter(
                                                          "troupe_registry_artefact_bytes_total",
                                                          "Bytes of artefacts taken, whole and durable.")} {}
};

} // namespace troupe::registry
