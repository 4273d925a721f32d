#pragma once

#include "common/metrics/metrics.hpp"

namespace troupe::ranker {

/// What the ranker counts. Any thread.
struct service_metrics {
  explicit service_metrics(metrics::registry& in)
      : answers{in.counter("troupe_ranker_answers_total", "Requests answered.")},
        degraded{in.counter("troupe_ranker_degraded_total", "Answers that say what they lack.")},
        refused{in.counter("troupe_ranker_refused_total", "Requests refused or failed.")},
        cache_hits{in.counter("troupe_ranker_near_cache_hits_total", "Reads of features saved.")},
        cache_misses{in.counter("troupe_ranker_near_cache_misses_total", "Reads of features made.")},
        feature_failures{
            in.counter("troupe_ranker_feature_failures_total", "Reads of features that failed.")},
        cache_joined{in.counter("troupe_ranker_joined_reads_total",
                                "Requests that waited for the read of another one of their user.")},
        item_scan_failures{
            in.counter("troupe_ranker_item_scan_failures_total", "Scans of items that failed.")},
        loads{in.counter("troupe_ranker_releases_loaded_total", "Releases that became ready.")},
        load_failures{
            in.counter("troupe_ranker_release_failures_total", "Releases that could not be loaded.")},
        items{in.gauge("troupe_ranker_items", "Items in the snapshot.")}, releases{in.gauge(
                                                                              "troupe_ranker_releases",
                                                                              "Releases ready to serve.")},
        answer_seconds{
            in.histogram("troupe_ranker_answer_seconds", "Time from arrival to the answer or the refusal.")},
        rank_seconds{in.histogram("troupe_ranker_rank_seconds", "Time of ranking alone.")} {}

  metrics::counter answers, degraded, refused, cache_hits, cache_misses, feature_failures, cache_joined,
      item_scan_failures, loads, load_failures;
  metrics::gauge items, releases;
  metrics::histogram answer_seconds, rank_seconds;
};

} // namespace troupe::ranker
