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
        item_scans{in.counter("troupe_ranker_item_scans_total", "Scans of all items that succeeded.")},
        item_changes{in.counter("troupe_ranker_item_changes_total",
                                "Items read again because the feature store named them as changed.")},
        item_change_failures{in.counter("troupe_ranker_item_change_failures_total",
                                        "Questions for changed items that failed.")},
        item_resets{in.counter("troupe_ranker_item_resets_total",
                               "Times that the feature store did not know any more what had changed.")},
        loads{in.counter("troupe_ranker_releases_loaded_total", "Releases that became ready.")},
        load_failures{
            in.counter("troupe_ranker_release_failures_total", "Releases that could not be loaded.")},
        items{in.gauge("troupe_ranker_items", "Items in the snapshot.")},
        ordinals{in.gauge("troupe_ranker_item_ordinals",
                          "Items that the catalogue or a model has ever named, since the start.")},
        items_age{in.gauge("troupe_ranker_items_age_seconds",
                           "Since the feature store was last asked what has changed, and answered.")},
        item_change_time{in.gauge("troupe_ranker_item_change_timestamp_seconds",
                                  "When a change of an item was last taken over, since 1970 UTC.")},
        releases{in.gauge("troupe_ranker_releases", "Releases ready to serve.")},
        answer_seconds{
            in.histogram("troupe_ranker_answer_seconds", "Time from arrival to the answer or the refusal.")},
        rank_seconds{in.histogram("troupe_ranker_rank_seconds", "Time of ranking alone.")} {}

  metrics::counter answers, degraded, refused, cache_hits, cache_misses, feature_failures, cache_joined,
      item_scan_failures, item_scans, item_changes, item_change_failures, item_resets, loads, load_failures;
  metrics::gauge items, ordinals, items_age, item_change_time, releases;
  metrics::histogram answer_seconds, rank_seconds;
};

} // namespace troupe::ranker
