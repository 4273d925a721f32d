#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include "schemas/ingest_generated.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::ingest_format {
class mapping;
} // namespace troupe::ingest_format

namespace troupe::ingest {

struct planned_file {
  std::string path;
  std::uint64_t bytes = 0;   ///< On disk when the import began.
  std::int64_t modified = 0; ///< Of the file, as the file system counts.
  std::string failure;       ///< Why it was given up; empty: it was not.

  friend bool operator==(const planned_file&, const planned_file&) = default;
};

/// What an import is to do and how it ended: kept in the log's store, so that a start finds the imports that
/// were running.
struct import_plan {
  std::string id;
  std::string path;
  std::string mapping; ///< TOML.
  std::string mapping_name;
  wire::ImportState state = wire::ImportState::running;
  std::string error;
  timestamp started{};
  std::vector<planned_file> files;

  friend bool operator==(const import_plan&, const import_plan&) = default;
};

/// The same path and mapping give the same id.
std::string import_id(std::string_view path, std::string_view mapping);
/// Likewise for files that were sent.
std::string import_id_of_upload(std::string_view upload, std::string_view mapping);

/// Where the positions of a file are kept in the log; `source_prefix` for all files of an import.
std::string source_key(std::string_view import, std::string_view path);
std::string source_prefix(std::string_view import);

/// Where its plan is kept in the log; of no import: what all such keys begin with.
std::string import_key(std::string_view import);

std::string encode(const import_plan& plan);
import_plan decode_plan(std::string_view bytes);

/// Reads the mapping of a plan; an empty text is Troupe's own layout.
expected<std::shared_ptr<const ingest_format::mapping>> open_mapping(std::string_view toml,
                                                                     std::string_view name);

/// Finds the files and checks that the mapping describes at least one of them; those that it does not are
/// left out. Looks for files until then.
expected<import_plan> make_plan(std::string_view id, std::string_view path, std::string_view mapping,
                                std::string_view mapping_name, deadline until);

/// Fills in size and time of a file as it is now; false when it has changed since.
bool refresh(planned_file& file);

} // namespace troupe::ingest
