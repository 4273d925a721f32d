#pragma once

#include "common/metrics/metrics.hpp"

namespace troupe::deployer {

struct service_metrics {
  explicit service_metrics(metrics::registry& in)
      : decisions{in.counter("troupe_deployer_decisions_total", "Decisions written down.")},
        reports{in.counter("troupe_deployer_reports_total", "Reports of gateways taken.")},
        reports_again{in.counter("troupe_deployer_reports_again_total",
                                 "Reports of gateways that had been taken already.")},
        records{in.counter("troupe_deployer_records_total", "Records of the event log read.")},
        counted{in.counter("troupe_deployer_records_counted_total", "Impressions and clicks that counted.")},
        fetch_failures{in.counter("troupe_deployer_fetch_failures_total", "Reads of the log that failed.")},
        ranker_failures{in.counter("troupe_deployer_ranker_failures_total", "Rankers that did not answer.")},
        waiters{in.gauge("troupe_deployer_waiters", "Callers that wait for a new routing table.")},
        version{in.gauge("troupe_deployer_routing_version", "Version of the routing table.")},
        weight{
            in.gauge("troupe_deployer_rollout_weight", "Share of users on the release being rolled out.")} {}

  metrics::counter decisions, reports, reports_again, records, counted, fetch_failures, ranker_failures;
  metrics::gauge waiters, version, weight;
};

} // namespace troupe::deployer
