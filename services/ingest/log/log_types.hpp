#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/hash.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include "schemas/ingest_generated.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace troupe::ingest {

/// What the quarantine has of a row.
enum class raw_kind : std::uint8_t {
  unsaid, ///< Written by a version that did not say.
  row,    ///< Its bytes as its source had them.
  record, ///< A record as Troupe's JSON: it was sent, or is of several rows, whose bytes would not give it
          ///< again.
};

/// A row that was not taken, and why.
struct rejected_row {
  std::string source;    ///< File or caller.
  std::string import;    ///< Import that read it; empty for rows that were sent.
  std::uint64_t row = 0; ///< In the source, from 1.
  std::uint64_t byte_offset = 0;
  std::string rule;
  std::string field;
  std::string reason;
  std::string raw;
  raw_kind raw_is = raw_kind::row;
};

struct quarantined_row : rejected_row {
  std::uint64_t number = 0; ///< Dense, from 1.
  timestamp at{};
  bool replayed = false;
};

struct counts {
  std::uint64_t events = 0;
  std::uint64_t users = 0;
  std::uint64_t items = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t quarantined = 0;
  std::uint64_t late = 0;
  std::uint64_t skipped = 0;

  counts& operator+=(const counts& other) {
    events += other.events, users += other.users, items += other.items, duplicates += other.duplicates;
    quarantined += other.quarantined, late += other.late, skipped += other.skipped;
    return *this;
  }
  friend bool operator==(const counts&, const counts&) = default;
};

/// How far a source has been taken: written together with the rows it speaks of.
struct source_state {
  std::string position;      ///< The reader's own: where to go on.
  std::uint64_t batches = 0; ///< Taken so far; the next one is number `batches`.
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0; ///< Of the file as it lies on disk.
  counts added;
  std::uint64_t records = 0; ///< That came out of the rows, before any was refused by the validator.
  bool done = false;

  friend bool operator==(const source_state&, const source_state&) = default;
};

/// Most records of a block of the log.
inline constexpr std::size_t block_records = 2048;

struct row_outcome {
  wire::Outcome outcome = wire::Outcome::added;
  std::string rule;
  std::string reason;
};

struct append_result {
  std::vector<row_outcome> rows; ///< One per record.
  counts added;
  source_state progress; ///< Of the source, where the request named one.
};

struct partition_state {
  std::uint64_t first = 0; ///< The first record in the log; those before it are in the lake alone.
  std::uint64_t next = 0;
  std::uint64_t sealed = 0; ///< One past the last record in the lake.
  std::int64_t watermark = std::numeric_limits<std::int64_t>::min();
};

struct log_state {
  std::vector<partition_state> partitions;
  counts total; ///< Since the log was made.
  std::uint64_t quarantine_next = 1;
};

/// Consecutive records of one partition.
struct fetched {
  std::vector<chunk> batches;
  std::uint64_t next_offset = 0;
};

/// Calls `use(record view)` for the records of `page` from `offset` up to `end`; `offset` goes along. Of a
/// log that grows meanwhile the page may go on behind `end`: that is not looked at. ec::corrupt where the
/// blocks leave a hole.
template <class Use>
expected<void> each_record(const fetched& page, std::uint32_t partition, std::uint64_t& offset,
                           std::uint64_t end, Use use) {
  for (auto& bytes : page.batches) {
    if (offset == end)
      break;
    TROUPE_TRY(block, batch::open(bytes));
    auto first = block.base_offset(), next = first + block.size();
    if (block.partition() != partition || first > offset || next <= offset)
      return fail(ec::corrupt,
                  "partition {} of the log has a hole at offset {}: the block there holds {} to {} of "
                  "partition {}",
                  partition, offset, first, next, block.partition());
    for (; offset < std::min(next, end); ++offset)
      TROUPE_CHECK(use(block[offset - first]));
  }
  return {};
}

struct lake_segment {
  std::uint32_t partition = 0;
  std::uint64_t first = 0;
  std::uint64_t next = 0;
  std::string path; ///< Relative to the lake folder.
  std::uint64_t bytes = 0;

  friend bool operator==(const lake_segment&, const lake_segment&) = default;
};

/// The same for equal records, whatever their ingest time, and the time of arrival of those without another.
std::uint64_t content_hash(const record& rec);

/// `check` of a record that the log holds. What only the entrance asks for is left out: logs of before have
/// flags and times of users and items that are texts.
expected<void> check_held(record rec);

/// One line of JSON that the import without a mapping reads back: as the record was written, so without the
/// time that its arrival gave it.
std::string to_json(const record& rec);

/// The attributes as one JSON object; numbers always with a fraction or an exponent, so that the kind can be
/// told.
std::string attributes_json(const std::vector<attribute>& attributes);

} // namespace troupe::ingest
