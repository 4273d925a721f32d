#pragma once

#include "services/ingest/lake_reader.hpp"
#include "services/ingest/log/log_types.hpp"

#include "common/core/error.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace troupe::ingest {

class event_log;

/// The lake: sealed pieces of the log as Parquet, `<folder>/partition=K/<first>-<next>.parquet`, one row per
/// record in offset order.
///
/// Log and lake are read as one: what the log does not hold any more is given out of the lake.
/// A file is complete under its name before the log records it: after a crash between the two it is written
/// again, equal or longer, and what is left of it is removed. Thread-safe; one seal or trim at a time.
class lake {
public:
  lake(std::shared_ptr<event_log> log, std::filesystem::path folder, std::uint64_t segment_records);

  /// Writes every full segment; with `all` also the rest of each partition.
  expected<void> seal(bool all);

  /// Takes out of the log what the lake has and what came before `older_than`. Before anything of a segment
  /// goes its file is compared with the log, once in the life of this object, then looked for at each call.
  /// Where a file is missing or differs its records and those after them stay; the error says what to do.
  /// About `verified_at_once` records are compared in a call: the rest is for the next one.
  expected<std::uint64_t> trim(timestamp older_than);

  /// True when a partition has a full segment that is not in the lake.
  bool due() const;

  /// As `event_log::fetch` and `event_log::each_block`, from the first record ever on.
  expected<fetched> fetch(std::uint32_t partition, std::uint64_t offset, std::size_t max_bytes);
  expected<std::uint64_t> each_block(std::uint32_t partition, std::uint64_t offset,
                                     const std::function<expected<bool>(const column_block&)>& use);

  /// Whether a read from `offset` on goes to files, each of which may take a second: off the threads that
  /// answer from the log.
  bool reads_files(std::uint32_t partition, std::uint64_t offset) const;

  const std::filesystem::path& folder() const noexcept { return folder_; }

private:
  expected<void> write(std::uint32_t partition, std::uint64_t first, std::uint64_t next);
  expected<bool> holds(std::uint32_t partition, std::uint64_t first, std::uint64_t next,
                       std::uint64_t& compared);

  std::shared_ptr<event_log> log_;
  std::filesystem::path folder_;
  std::uint64_t segment_records_;
  lake_reader reader_{folder_};
  std::mutex mutex_;
  std::vector<std::uint64_t> verified_; ///< By partition: files before it were compared.
};

/// Where records of the log come from: blocks of a partition from an offset on.
using fetch_function = std::function<expected<fetched>(std::uint32_t partition, std::uint64_t offset)>;

/// Compares a file of the lake with the log, field by field, where the log still holds its records; else
/// reads it whole. The error names the first offset that differs.
expected<void> verify_segment(const std::filesystem::path& file, const lake_segment& segment,
                              const fetch_function& fetch);

} // namespace troupe::ingest
