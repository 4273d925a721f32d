#pragma once

#include "common/table/connection.hpp"
#include "common/table/rows.hpp"

#include <filesystem>

namespace troupe::table {

/// `read_parquet(...)` for a statement: this one file, whatever signs its path has, its own columns and no
/// others. Every option that DuckDB would guess by the path or the columns is stated. Bytes that are not
/// declared to be text come as kind::blob.
std::string parquet_file(const std::filesystem::path& path);

struct parquet_options {
  std::uint64_t row_group_rows = 122'880;
  std::string compression = "zstd"; ///< zstd, snappy or uncompressed.
  std::string select = "*";         ///< The columns of the file, in SQL over those that are added.
};

/// Writes one Parquet file row by row in bounded memory (one row group and a few chunks). The bytes depend on
/// the rows and the options alone. The rows are added by one thread; the encoding runs in a thread of the
/// writer's own, and `end_row` waits when that is behind. The file is there under its name only after
/// `finish` has given true: it is written as `<name>.part`, synced and then renamed. A writer that goes
/// without `finish` leaves nothing behind.
class parquet_writer final : public row_writer {
public:
  static expected<std::unique_ptr<parquet_writer>>
  open(const std::filesystem::path& path, std::vector<column_spec> columns, parquet_options options = {});
  ~parquet_writer() override;

  /// Completes the file; gives its size in bytes.
  expected<std::uint64_t> finish();

private:
  struct state;
  parquet_writer(std::vector<cell> types, std::unique_ptr<state> from);
  expected<void> consume() override;
  std::unique_ptr<state> state_;
};

} // namespace troupe::table
