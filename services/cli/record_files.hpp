#pragma once

#include "common/core/error.hpp"
#include "common/event/record.hpp"
#include "common/ingest_format/mapping/mapping.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe::cli {

/// The text of a shipped mapping by its name, otherwise of a file; empty where nothing is named.
expected<std::string> mapping_text(const std::string& named);

/// The same, read; Troupe's own layout where nothing is named.
expected<std::shared_ptr<const ingest_format::mapping>> open_mapping(const std::string& named);

/// Rows of a file that lie one after the other, as records.
struct record_rows {
  const std::filesystem::path& file;
  std::uint64_t first_row;            ///< Number of the first of these rows, from 1.
  const std::vector<record>& records; ///< Normalised, not checked.
  const std::vector<ingest_format::refused_row>& refused;
};

/// Gives the records of every file behind `path` (a file, a folder, a glob) that the mapping describes, a few
/// thousand rows at a time. Stops at the first error of `take`, and with ec::canceled on Ctrl-C; fails with
/// ec::not_found where the mapping describes none of the files.
expected<void> read_records(const std::string& path, const std::string& mapping,
                            const std::function<expected<void>(const record_rows&)>& take);

} // namespace troupe::cli
