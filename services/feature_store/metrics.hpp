#pragma once

#include "common/metrics/metrics.hpp"

namespace troupe::feature_store {

/// The metrics of this service, by name.
struct service_metrics {
  metrics::counter records, batches, fetch_failures, reads, values, read_failures, training_rows,
      training_read_bytes, expired;
  metrics::gauge lag, parked, cached_states, cached_bytes, watermark_age, training_sets, training_set_bytes;
  metrics::histogram read_seconds;

  explicit service_metrics(metrics::registry& in)
      : records{in.counter("troupe_feature_store_records_total", "Records of the log looked at.")},
        batches{in.counter("troupe_feature_store_batches_total", "Batches of the log applied.")},
        fetch_failures{
            in.counter("troupe_feature_store_fetch_failures_total", "Fetches of the log that failed.")},
        reads{in.counter("troupe_feature_store_reads_total", "Feature reads answered.")},
        values{in.counter("troupe_feature_store_values_total", "Feature values given out.")},
        read_failures{
            in.counter("troupe_feature_store_read_failures_total", "Feature reads refused or failed.")},
        training_rows{
            in.counter("troupe_feature_store_training_rows_total", "Rows of training sets written.")},
        training_read_bytes{in.counter("troupe_feature_store_training_read_bytes_total",
                                       "Bytes of kept training sets given out.")},
        expired{in.counter("troupe_feature_store_expired_states_total",
                           "States dropped because they give no value any more.")},
        lag{in.gauge("troupe_feature_store_lag_records", "Records of the log not yet applied.")},
        parked{in.gauge("troupe_feature_store_parked_reads", "Reads that wait for an offset.")},
        cached_states{in.gauge("troupe_feature_store_cached_states", "Entity states in memory.")},
        cached_bytes{in.gauge("troupe_feature_store_cached_bytes", "Memory of cached entity states.")},
        watermark_age{in.gauge("troupe_feature_store_watermark_age_seconds",
                               "Now minus the newest event time applied.")},
        training_sets{in.gauge("troupe_feature_store_training_sets", "Training sets kept by name.")},
        training_set_bytes{
            in.gauge("troupe_feature_store_training_set_bytes", "Disk space of the kept training sets.")},
        read_seconds{
            in.histogram("troupe_feature_store_read_seconds", "Time from admission to answer of a read.")} {}
};

} // namespace troupe::feature_store
