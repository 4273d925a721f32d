#pragma once

#include "services/ingest/log/log_types.hpp"

#include "common/core/hash.hpp"
#include "common/event/batch_buffer.hpp"
#include "common/ingest_format/readers/source.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace troupe::ingest {

/// Where a record comes from.
struct row_origin {
  std::uint64_t row = 0;
  std::uint64_t byte_offset = 0;
  std::string raw{}; ///< The bytes of the row; empty: see `kept`, else the record as JSON stands for them.
  std::uint64_t quarantined = 0; ///< Number of the row in quarantine that it is replayed from; 0: it is not.
  bool untimed = false; ///< The row gave no time. The record may have one by now: it is known without.
  std::uint32_t kept = not_kept;   ///< Which of `append_request::kept` the row is.
  raw_kind raw_is = raw_kind::row; ///< What `raw` has.

  static constexpr std::uint32_t not_kept = ~std::uint32_t{0};
};

/// Records of one partition, encoded: what the log stores.
struct encoded_part {
  std::uint32_t partition = 0;
  std::vector<std::uint32_t> rows; ///< Which of the request's records, ascending.
  batch_buffer bytes;
};

/// Where a record is: in which part, and which one there.
struct encoded_place {
  std::uint32_t part = 0;
  std::uint32_t row = 0;
};

/// Rows to be taken together or not at all.
struct append_request {
  std::string source;                ///< File or caller.
  std::string import;                ///< Import id, for quarantined rows.
  std::vector<record> records;       ///< Until they are encoded.
  std::vector<row_origin> origins;   ///< One per record, or none.
  std::vector<rejected_row> refused; ///< Straight to quarantine.

  std::string source_key;  ///< Where the position is kept; empty: there is none.
  std::uint64_t batch = 0; ///< Number of this batch in its source: must follow the last one taken.
  source_state progress;   ///< position, rows, bytes and done after this batch, and what was skipped in it.

  /// The rows that `row_origin::kept` speaks of, so that their bytes are made only of those that are refused.
  std::shared_ptr<const ingest_format::kept_rows> kept;

  // By `encode`; the log does it where nobody has. One per record, but for the parts.
  std::vector<encoded_part> parts;
  std::vector<encoded_place> places;
  std::vector<hash128> id_hashes;
  std::vector<std::uint64_t> content_hashes;

  std::size_t bytes = 0; ///< Filled in by the log.

  /// How many records there are, encoded or not.
  std::size_t size() const noexcept { return places.empty() ? records.size() : places.size(); }

  /// Encodes and hashes the records, each once, by the partition they belong to; and lets go of them.
  void encode(std::uint32_t partitions);

  /// A record that is encoded.
  const wire::Record& operator[](std::size_t index) const {
    return parts[places[index].part].bytes[places[index].row];
  }

  /// Encodes some of the records of one part anew.
  batch_buffer encode_again(std::span<const std::uint32_t> rows, std::uint32_t partition) const;

  /// What was encoded as one wire::Batch, in the order of the records. Empty where there are none.
  chunk joined() const;

  /// Leaves records out, with their origins. Only parts that lose one are encoded anew.
  void leave_out(const std::vector<bool>& gone);

  /// The bytes of a row; empty where they are not known.
  std::string raw_of(const row_origin& origin) const;

  /// The row of record `index` as it goes to quarantine.
  rejected_row rejected(std::size_t index, std::string rule, std::string field, std::string reason) const;
};

} // namespace troupe::ingest
