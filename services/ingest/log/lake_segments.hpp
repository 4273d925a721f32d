#pragma once

#include "services/ingest/log/log_types.hpp"

#include "common/core/error.hpp"
#include "common/store/database.hpp"

#include <cstdint>
#include <mutex>
#include <vector>

namespace troupe::ingest {

/// Which pieces of the log are in the lake, whole. Any thread.
class lake_segments {
public:
  explicit lake_segments(store::database& db) : db_{db} {}

  /// Finds where the lake ends. Once, before anything else.
  expected<void> recover(std::uint32_t partitions);

  expected<std::vector<lake_segment>> list() const;

  /// The segment that holds a record; ec::not_found where there is none.
  expected<lake_segment> find(std::uint32_t partition, std::uint64_t offset) const;

  /// Records a segment that is complete in the lake. Segments of a partition follow one another and end
  /// where the log does, `log_end`, at the latest.
  expected<void> add(const lake_segment& segment, std::uint64_t log_end);

  /// By partition, one past the last record in the lake.
  std::vector<std::uint64_t> ends() const;

private:
  store::database& db_;
  mutable std::mutex mutex_;
  std::vector<std::uint64_t> ends_;
};

} // namespace troupe::ingest
