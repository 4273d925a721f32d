#pragma once

#include "common/config/keys.hpp"
#include "common/core/resource_limits.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace troupe::ingest {

/// The settings of the ingest service.
struct config {
  std::uint32_t partitions = 8;
  std::uint64_t cache_bytes = std::uint64_t{64} << 20;
  std::uint64_t write_buffer_bytes = std::uint64_t{64} << 20;
  std::uint64_t queue_bytes = std::uint64_t{64} << 20;
  std::chrono::microseconds allowed_lateness{0};
  std::chrono::seconds dedup_for{30 * 24 * 3600};
  std::uint32_t batch_rows = 2000;
  std::uint32_t batches_in_flight = 4;
  std::uint32_t files_at_once = 2;
  std::uint32_t readers = 2;
  std::uint32_t servers = 2;
  std::string validation = "validator";
  std::chrono::milliseconds validation_timeout{30'000};
  std::chrono::milliseconds longest_backoff{5'000};
  std::uint32_t restarts = 5;
  std::uint64_t segment_records = 250'000;
  std::string lake;
  std::chrono::seconds keep_log{7 * 24 * 3600};
  std::chrono::seconds keep_quarantine{90 * 24 * 3600};
  std::uint64_t upload_bytes = std::uint64_t{5} << 30;
  std::chrono::seconds upload_keep{7 * 24 * 3600};

  static constexpr std::uint64_t lake_reads_at_once = 1;

  void bind(config_keys& keys);
  resource_bounds holds() const {
    constexpr std::uint64_t known_ids = std::uint64_t{96} << 20; // dedup_index
    // lake_reader: what it reads at a time, what is compared with the log, and what stays.
    constexpr std::uint64_t lake_files = ((lake_reads_at_once + 1) * 512 + 64) << 20;
    return {cache_bytes + write_buffer_bytes + queue_bytes + known_ids + lake_files, upload_bytes};
  }
};

} // namespace troupe::ingest
