#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include "schemas/ingest_generated.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Some fields of many records of the event log: the question, and its answer, checked.
namespace troupe::ingest {

/// What is wanted of the records of a partition.
struct column_query {
  std::uint32_t partition = 0;
  std::uint64_t offset = 0;
  std::uint64_t end = 0; ///< One past the last record wanted; 0: as far as the partition goes.
  std::uint32_t max_bytes = 4 << 20;
  std::vector<wire::ColumnField> fields;
  std::vector<std::string> attributes; ///< That are texts.
  std::vector<wire::RecordKind> kinds; ///< None: all.
  std::vector<std::string> types;      ///< None: all.
  bool other_types = false;            ///< All types but these.
};

/// Records that match, one after the other, as columns. A column that was not asked for is empty.
struct column_part {
  struct texts {
    std::vector<std::string_view> entries;
    std::span<const std::uint32_t> rows; ///< Of each row, which entry.

    std::string_view operator[](std::size_t row) const { return entries[rows[row]]; }
  };

  std::uint64_t first = 0;
  std::span<const std::uint32_t> offsets; ///< Row i is the record at first + offsets[i].
  std::span<const wire::RecordKind> kinds;
  texts ids, types, users, items, request_ids;
  std::vector<texts> attributes; ///< In the order of the question; empty where a record has none.
  std::span<const std::int64_t> event_times, ingest_times; ///< Microseconds since 1970.
  std::span<const std::uint8_t> has_values;
  std::span<const double> values;
};

struct log_columns {
  std::vector<column_part> parts;
  std::uint64_t next = 0;    ///< Where to go on: one past the last record that was looked at.
  std::uint64_t log_end = 0; ///< One past the last record of the partition when it was read.
  chunk bytes;               ///< Where the parts live.
};

/// Payload of wire::Kind::fetch_columns.
chunk columns_query(const column_query& query);

/// Its answer. ec::conflict when the partition ends before the offset that was asked for; ec::corrupt for
/// columns of different lengths.
expected<log_columns> read_log_columns(const chunk& payload, const column_query& query);

} // namespace troupe::ingest
