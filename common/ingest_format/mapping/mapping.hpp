#pragma once

#include "common/event/record.hpp"
#include "common/ingest_format/mapping/rules.hpp"
#include "common/ingest_format/readers/source.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::ingest_format {

namespace rules {
struct bound_file;
}

/// A row that gives no records, and why.
struct refused_row {
  std::uint64_t number = 0;
  std::uint64_t offset = 0;
  refusal why;
  std::string raw;
};

/// Turns the rows of one file into records, each row by itself. One thread at a time.
class row_mapper {
public:
  enum class outcome : std::uint8_t {
    mapped,  ///< One record or several were added.
    skipped, ///< No condition held: the mapping leaves the row out.
    refused, ///< A refusal was added, and no record.
  };

  row_mapper(row_mapper&&) noexcept;
  row_mapper& operator=(row_mapper&&) noexcept;
  ~row_mapper();

  outcome apply(const raw_row& row, std::vector<record>& records, std::vector<refused_row>& refusals);

  /// Whether rows that follow one another may be one slate; `slate_rows` makes it of them.
  bool joins_rows() const noexcept;

  /// The slate, among the records that `apply` has just added, that the next row may go on with: it does
  /// where the key is the same.
  struct open_slate {
    std::size_t record = 0; ///< From the first that the row gave.
    std::string key;
  };
  std::optional<open_slate> open() const;

  /// The same for the bytes of a row as they were quarantined; they may have been mended.
  outcome replay(std::string_view bytes, std::uint64_t number, std::vector<record>& records,
                 std::vector<refused_row>& refusals);

  /// A record of a file whose rows are joined is quarantined by itself, as Troupe's own JSON.
  outcome replay_record(std::string_view bytes, std::uint64_t number, std::vector<record>& records,
                        std::vector<refused_row>& refusals);

private:
  friend class mapping;
  struct state;
  explicit row_mapper(rules::bound_file from);
  std::unique_ptr<state> state_;
};

/// A foreign layout described in TOML; see common/ingest_format/mappings for examples and README.md for the
/// keys. Immutable and safe to share between threads.
class mapping {
public:
  /// Reads a mapping. An unknown key, a wrong value or a missing part is an error that names the key and its
  /// line; `name` is what the text is called in messages.
  static expected<std::shared_ptr<const mapping>> parse(std::string_view toml, std::string_view name);

  /// Troupe's own layout, JSON lines or Parquet: what is taken without a mapping.
  static std::shared_ptr<const mapping> native();

  const std::string& name() const noexcept { return name_; }

  /// Which [[file]] describes this file; the first that matches. `named`: the user named this very file, so a
  /// mapping of one [[file]] takes it whatever its name.
  std::optional<std::size_t> match(const std::filesystem::path& path, bool named = false) const;

  /// `u.data, u.item, u.user`: for the note about files that match nothing.
  std::string patterns() const;

  /// How the files of that [[file]] are read.
  const source_options& options(std::size_t file) const { return files_[file].options; }

  /// How far ahead of the clock that [[file]] lets records be dated, where it says so.
  std::optional<std::chrono::microseconds> max_ahead(std::size_t file) const {
    return files_[file].max_ahead;
  }

  /// Makes the mapper for one file. Fails with ec::invalid_argument when the file lacks columns, naming them
  /// and those it has.
  expected<row_mapper> bind(std::size_t file, const std::filesystem::path& path,
                            const source_reader& reader) const;
  expected<row_mapper> bind(std::size_t file, const std::filesystem::path& path, file_format format,
                            const std::vector<std::string>& columns,
                            std::optional<hash128> content = {}) const;

private:
  std::string name_;
  std::vector<rules::file_rule> files_;
};

/// Reads the rules of a mapping.
expected<std::vector<rules::file_rule>> parse_rules(std::string_view toml, std::string_view name);

} // namespace troupe::ingest_format
