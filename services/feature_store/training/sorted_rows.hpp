#pragma once

#include "common/core/error.hpp"

#include <compare>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

/// The place of a row in the order of replay: rows are replayed by these members, in this order. Times in
/// microseconds since 1970.
struct replay_place {
  std::int64_t visible = 0; ///< The instant from which a label sees the record; of a label: its own.
  std::int64_t label = 0;   ///< 1 for a label: it comes after the records that are visible at its instant.
  std::int64_t time = 0;    ///< Event time.
  std::int64_t partition = 0;
  std::int64_t offset = 0; ///< Of a row of entity_rows: its number, from 0.
  std::int64_t index = 0;  ///< Of an item of a slate: which, from 0.

  friend auto operator<=>(const replay_place&, const replay_place&) = default;
};

/// Takes rows in any order and writes them to files in a folder, each in the order of their places: as many
/// at once as fit into the memory given. No two rows have the same place. Not thread-safe.
class row_sorter {
public:
  /// Removes what another one has left in the folder.
  static expected<row_sorter> open(std::filesystem::path folder, std::size_t memory_bytes);

  expected<void> add(const replay_place& at, std::string_view payload);

  /// Writes what is in memory, and has the disk hold all of it. Gives how many rows there are.
  expected<std::uint64_t> finish();

private:
  struct row {
    std::int64_t visible; ///< First, because it mostly decides.
    std::size_t at;       ///< In `bytes_`.
  };

  row_sorter(std::filesystem::path folder, std::size_t memory_bytes);
  expected<void> write_run();

  std::filesystem::path folder_;
  std::size_t memory_bytes_;
  std::vector<char> bytes_;
  std::vector<row> rows_;
  std::uint64_t written_ = 0;
  std::uint32_t runs_ = 0;
};

/// How large the files of a row_sorter in a folder are, together.
expected<std::uint64_t> size_of_rows(const std::filesystem::path& folder);

/// The rows that a row_sorter has written, of all its files together in the order of their places. The files
/// are mapped: memory is what the system spares for them. Not thread-safe.
class sorted_rows {
public:
  static expected<sorted_rows> open(const std::filesystem::path& folder);
  sorted_rows(sorted_rows&&) noexcept;
  ~sorted_rows();

  /// On to the next row; false behind the last. Fails with ec::corrupt where a file ends within a row.
  expected<bool> next();

  const replay_place& place() const noexcept;
  /// Aligned to eight bytes.
  std::string_view payload() const noexcept;

private:
  struct run;
  sorted_rows();

  std::vector<std::unique_ptr<run>> runs_; ///< Those that are not at their end.
  run* at_ = nullptr;
};

} // namespace troupe::feature_store
