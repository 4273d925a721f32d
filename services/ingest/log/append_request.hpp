#pragma once

#include "services/ingest/log/log_types.hpp"

#include "common/event/batch_buffer.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace troupe::ingest {

/// Where a record comes from: parallel to `append_request::records`.
struct row_origin {
  std::uint64_t row = 0;
  std::uint64_t byte_offset = 0;
  std::string raw{};             ///< The bytes of the row; empty: the record as JSON stands for them.
  std::uint64_t quarantined = 0; ///< Number of the row in quarantine that it is replayed from; 0: it is not.
  bool untimed = false; ///< The row gave no time. The record may have one by now: it is known without.
};

/// Records of one partition, encoded: what the log stores.
struct encoded_part {
  std::uint32_t partition = 0;
  std::vector<std::uint32_t> rows; ///< Which of the request's records, ascending.
  batch_buffer bytes;
};

/// Rows to be taken together or not at all.
struct append_request {
  std::string source; ///< File or caller.
  std::string import; ///< Import id, for quarantined rows.
  std::vector<record> records;
  std::vector<row_origin> origins;   ///< One per record, or none.
  std::vector<rejected_row> refused; ///< Straight to quarantine.

  std::string source_key;  ///< Where the position is kept; empty: there is none.
  std::uint64_t batch = 0; ///< Number of this batch in its source: must follow the last one taken.
  source_state progress;   ///< position, rows, bytes and done after this batch, and what was skipped in it.

  std::vector<encoded_part> parts; ///< By `encode`; the log does it where nobody has.

  std::size_t bytes = 0; ///< Filled in by the log.
  std::vector<hash128> id_hashes;
  std::vector<std::uint64_t> content_hashes;

  /// Encodes the records, each once, by the partition they belong to.
  void encode(std::uint32_t partitions);

  /// What was encoded as one wire::Batch, in the order of the records. Empty where there are none.
  chunk joined() const;

  /// Leaves records out, with their origins. Only parts that lose one are encoded anew.
  void leave_out(const std::vector<bool>& gone);

  /// The row of record `index` as it goes to quarantine.
  rejected_row rejected(std::size_t index, std::string rule, std::string field, std::string reason) const;
};

/// Encodes the records of `rows`.
batch_buffer encode_rows(const std::vector<record>& records, std::span<const std::uint32_t> rows,
                         std::uint32_t partition);

} // namespace troupe::ingest
