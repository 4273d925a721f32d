#pragma once

#include "services/ingest/client/column_fetch.hpp"

#include "common/core/error.hpp"
#include "common/event/record.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace troupe::ingest {

/// The log, as a replay reads it. One thread at a time.
class record_stream {
public:
  virtual ~record_stream() = default;

  /// By partition, one past the last record.
  virtual expected<std::vector<std::uint64_t>> ends() = 0;

  /// Consecutive batches of a partition; the first holds `offset`. Empty only where there is no record at
  /// `offset`.
  virtual expected<std::vector<batch>> read(std::uint32_t partition, std::uint64_t offset,
                                            std::uint32_t max_bytes) = 0;

  /// Some fields of records, one after the other; of a stream that has no better way, out of `read`.
  virtual expected<log_columns> read_columns(const column_query& query);
};

/// Records in memory, spread over partitions as the log does it; for tests and benches.
class memory_stream final : public record_stream {
public:
  memory_stream(const std::vector<record>& records, std::uint32_t partitions, std::size_t per_batch = 1000) {
    std::vector<std::vector<record>> split(partitions);
    batches_.resize(partitions);
    ends_.resize(partitions);
    for (auto& each : records)
      split[partition_of(each.partition_key(), partitions)].push_back(each);
    for (std::uint32_t p = 0; p < partitions; ++p)
      for (std::size_t at = 0; at < split[p].size(); at += per_batch) {
        auto size = std::min(per_batch, split[p].size() - at);
        batches_[p].push_back(batch::trusted(encode_batch({split[p].data() + at, size}, p, at)));
        ends_[p] = at + size;
      }
  }

  expected<std::vector<std::uint64_t>> ends() override { return ends_; }

  expected<std::vector<batch>> read(std::uint32_t partition, std::uint64_t offset,
                                    std::uint32_t max_bytes) override {
    std::vector<batch> out;
    std::size_t bytes = 0;
    for (auto& each : batches_[partition])
      if (each.base_offset() + each.size() > offset && (out.empty() || bytes < max_bytes)) {
        out.push_back(each);
        bytes += each.bytes().size();
      }
    return out;
  }

  const std::vector<std::vector<batch>>& batches() const noexcept { return batches_; }

private:
  std::vector<std::vector<batch>> batches_;
  std::vector<std::uint64_t> ends_;
};

} // namespace troupe::ingest
