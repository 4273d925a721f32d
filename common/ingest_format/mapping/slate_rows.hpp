#pragma once

#include "common/ingest_format/mapping/mapping.hpp"

#include <optional>
#include <string>
#include <vector>

namespace troupe::ingest_format {

/// A row of a file and what it gave.
struct mapped_row {
  std::uint64_t number = 0;
  std::uint64_t offset = 0;
  row_mapper::outcome outcome = row_mapper::outcome::skipped;
  std::vector<record> records;
  std::vector<refused_row> refusals;
};

/// Makes one slate of the rows of one request that follow one another: `slate_by` of a mapping.
///
/// The slate stands where the first of its rows does, with user, time, id and attributes of that row, and an
/// item for each of them. Another key or another user begins the next one, and so does a place where an item
/// stands already: a session of several pages. Rows between that give nothing of a slate do not. Whoever
/// resumes a file does so at a row where no slate is under way (`waits_from`), so that the same rows make the
/// same slates. Memory: a slate has `max_shown` rows at most, those between included, and the next row begins
/// another.
class slate_rows {
public:
  explicit slate_rows(row_mapper& by) : by_{by} {}

  /// Maps a row. What is complete goes to `out`, row by row, in their order.
  void add(const raw_row& row, std::vector<mapped_row>& out);

  /// There are no more rows.
  void finish(std::vector<mapped_row>& out);

  /// Where the first row stands that was added and is not complete; nothing where all are.
  std::optional<source_position> waits_from() const;

private:
  std::vector<mapped_row> waiting_; ///< From the first row of the slate that is under way.
  std::size_t slate_ = 0;           ///< Its place among the records of that row.
  std::string key_;
  row_mapper& by_;
};

} // namespace troupe::ingest_format
