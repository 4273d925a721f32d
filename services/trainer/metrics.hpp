#pragma once

#include "common/metrics/metrics.hpp"

namespace troupe::trainer {

/// The metrics of this service, by name; without a registry they count into nothing.
struct service_metrics {
  metrics::gauge running, waiting, unpublished;
  metrics::counter done, failed, canceled, restarts;

  service_metrics() = default;
  explicit service_metrics(metrics::registry& in)
      : running{runs(in, "running")}, waiting{runs(in, "waiting")},
        unpublished{in.gauge("troupe_trainer_unpublished_runs",
                             "Ended runs that the registry has not heard all of: they are offered again.")},
        done{ended(in, "done")}, failed{ended(in, "failed")}, canceled{ended(in, "canceled")},
        restarts{in.counter("troupe_trainer_restarts_total",
                            "Times that all ranks of a run were started again because one was lost.")} {}

private:
  static metrics::gauge runs(metrics::registry& in, const char* state) {
    return in.gauge("troupe_trainer_runs", "Runs that have not ended.", {{"state", state}});
  }
  static metrics::counter ended(metrics::registry& in, const char* state) {
    return in.counter("troupe_trainer_ended_runs_total", "Runs that have ended.", {{"state", state}});
  }
};

} // namespace troupe::trainer
