#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/event/record.hpp"

#include <chrono>
#include <cstdint>
#include <vector>

/// The questions that a reader of the event log asks, and their answers, checked.
namespace troupe::ingest {

/// Records of one partition, as one fetch gave them.
struct log_records {
  std::uint32_t partition = 0;
  std::uint64_t first = 0; ///< The offset that was asked for.
  std::vector<batch>
      batches;            ///< Without gaps. The first may begin before `first`: skip what was not asked for.
  std::uint64_t next = 0; ///< One past the last record here.
  std::uint64_t log_end = 0; ///< One past the last record of the partition when it was read.
  std::uint64_t log = 0;     ///< Which log this is; 0 where its service does not say so.
};

/// Payload of wire::Kind::log_info.
chunk log_info_query();

/// Its answer: by partition, one past the last record. ec::unavailable while the log has no partitions.
expected<std::vector<std::uint64_t>> read_log_ends(const chunk& payload);

/// Payload of wire::Kind::fetch. `max_bytes`: the answer holds no more, but for at least one batch. `wait`:
/// for a first record, where there is none yet.
chunk fetch_query(std::uint32_t partition, std::uint64_t offset, std::uint32_t max_bytes,
                  std::chrono::microseconds wait);

/// Its answer. ec::conflict when the partition ends before `offset`: the log that was read is not there any
/// more. ec::corrupt for records of another partition and for a gap. The batches live in `payload`.
expected<log_records> read_log_records(const chunk& payload, std::uint32_t partition, std::uint64_t offset);

} // namespace troupe::ingest
