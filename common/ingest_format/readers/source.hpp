#pragma once

#include "common/core/error.hpp"
#include "common/core/hash.hpp"
#include "common/core/time.hpp"
#include "common/event/row.hpp"
#include "common/json/exact.hpp"

#include <atomic>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::ingest_format {

enum class file_format : std::uint8_t { csv, json_lines, parquet };
enum class compression : std::uint8_t { none, gzip, zstd };
enum class text_encoding : std::uint8_t { utf8, latin1, windows1252 };

std::string_view to_string(file_format format) noexcept;
std::string_view to_string(text_encoding encoding) noexcept;

/// How the columns of a row are parted (RFC 4180, loosened).
struct csv_dialect {
  std::string delimiter = ",";        ///< One byte or several, such as `::`.
  std::optional<char> quote = '"';    ///< Nothing: a quote is a character like any other.
  bool header = true;                 ///< The first row names the columns.
  std::vector<std::string> columns{}; ///< Their names where there is no header.
  std::uint64_t skip_rows = 0;        ///< Lines before the header or the first row.
};

struct source_options {
  std::optional<file_format> format{};          ///< Nothing: by extension, then by the first bytes.
  csv_dialect csv{};                            ///< For CSV.
  text_encoding encoding = text_encoding::utf8; ///< For CSV and JSON lines; rows come out in UTF-8.
  std::size_t max_row_bytes = 1 << 20;          ///< A longer row is refused.
  /// The columns that are wanted, by name or JSON path; nothing: all. Of Parquet no others are read.
  std::optional<std::vector<std::string>> wanted{};
  /// Those of them that name users, items and records. A row of Parquet whose value there has no exact digits
  /// (float32 and float64 beyond their whole numbers) is refused.
  std::vector<std::string> identities{};
  /// True: nobody wants the rows any more, and reading fails with ec::canceled. Set from any thread.
  std::shared_ptr<const std::atomic<bool>> stop{};
};

/// Whether a column, or something below it, is wanted.
bool wants(const source_options& options, std::string_view column) noexcept;

/// Where reading goes on: behind the last row that was taken.
struct source_position {
  std::uint64_t rows = 0;   ///< Rows before.
  std::uint64_t offset = 0; ///< Byte of the next row in the uncompressed file; 0 for Parquet.

  friend bool operator==(const source_position&, const source_position&) = default;
};

/// A row as it stands in the file.
struct raw_row {
  std::string_view bytes;   ///< Without its line end, in the file's encoding; of Parquet, where the row is
                            ///< refused: the row as a JSON object. Of a row that is too long: its beginning;
                            ///< of text with a line feed behind it.
  std::uint64_t number = 0; ///< From 1, the header not counted.
  std::uint64_t offset = 0; ///< Of its first byte in the uncompressed file; 0 for Parquet.
  std::span<const std::string_view> fields{}; ///< CSV: the columns, in UTF-8, unquoted.
  std::string_view text{};                    ///< JSON lines: the row in UTF-8.
  std::optional<exact_value> object{};        ///< Parquet: the row.
  std::optional<refusal> refused{};           ///< The row cannot be read; the three above are empty.
};

/// The bytes of a row, of Parquet too.
std::string bytes_of(const raw_row& row);

/// Rows as they go to quarantine, should they do so when their reader has gone on. Any thread.
class kept_rows {
public:
  virtual ~kept_rows() = default;
  virtual std::string bytes(std::size_t row) const = 0;
};

/// Rows that lie one after the other. Everything in it is valid until the reader's next `next`.
struct row_batch {
  std::vector<raw_row> rows;
  source_position after; ///< Where reading goes on behind these rows.

  /// For later, by their place in `rows`; those that are refused are not in it.
  std::shared_ptr<const kept_rows> keep() const;

  // Memory that rows may point into.
  std::vector<std::string_view> fields;
  std::deque<std::string> made;
  std::shared_ptr<exact_objects> objects;

  void clear() {
    rows.clear();
    fields.clear();
    made.clear();
    objects.reset();
  }
};

/// Reads the rows of one file in order. Used by one thread at a time; blocks on the disk.
class source_reader {
public:
  virtual ~source_reader() = default;

  /// Up to `max_rows` more rows, at least one before the end; an empty batch is the end. A row that cannot be
  /// read comes as a refusal and reading goes on. Fails when the file itself is broken (ec::corrupt:
  /// truncated, damaged) or cannot be read; all rows before the broken place have been given by then.
  virtual expected<const row_batch*> next(std::size_t max_rows) = 0;

  /// What tells this content of the file from another, in the place of each row's bytes: of Parquet, whose
  /// rows come with those columns alone that are wanted, the hash of its table of contents.
  const std::optional<hash128>& content() const noexcept { return content_; }

  /// The names of the columns; empty for JSON lines.
  const std::vector<std::string>& columns() const noexcept { return columns_; }

  file_format format() const noexcept { return format_; }

  /// The file's size on disk, and how much of that has been read: the progress of a compressed file too.
  std::uint64_t bytes_total() const noexcept { return bytes_total_; }
  virtual std::uint64_t bytes_read() const noexcept = 0;

protected:
  source_reader(file_format format, std::uint64_t bytes_total) : bytes_total_{bytes_total}, format_{format} {}

  std::vector<std::string> columns_;
  std::optional<hash128> content_;
  std::uint64_t bytes_total_ = 0;

private:
  file_format format_;
};

/// Opens a file so that the next row is the one at `from`. A compressed file is read again up to there.
expected<std::unique_ptr<source_reader>>
open_reader(const std::filesystem::path& path, const source_options& options = {}, source_position from = {});

/// The files behind a path: the file itself, all files below a folder (hidden ones left out), or those a glob
/// matches; sorted. Folders and globs give regular files alone; anything else that is named itself is refused
/// by what it is. Fails with ec::not_found when there is none, and with ec::too_late when looking for them
/// takes longer than `until`.
expected<std::vector<std::filesystem::path>>
expand_paths(const std::string& path, deadline until = deadline{deadline::clock::time_point::max()});

/// `u.data.gz` becomes `u.data`.
std::string without_compression(const std::filesystem::path& path);

/// The format that the name or the first bytes tell; CSV where neither does.
expected<file_format> detect_format(const std::filesystem::path& path);

} // namespace troupe::ingest_format
