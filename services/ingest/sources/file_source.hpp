#pragma once

#include "services/ingest/sources/batch_source.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>

namespace troupe::ingest_format {
class mapping;
} // namespace troupe::ingest_format

namespace troupe::ingest {

struct file_source_options {
  std::string path;
  std::string import;
  std::string key; ///< Where its position is kept.
  std::shared_ptr<const ingest_format::mapping> rules;
  bool named = false;  ///< The user named this very file.
  timestamp arrival{}; ///< Of records without a time: when the import began.
  std::size_t batch_rows = 2000;
  std::shared_ptr<const std::atomic<bool>> stop{}; ///< True: reading ends, with ec::canceled.
};

/// A file read by its format and turned into records by a mapping.
expected<std::unique_ptr<batch_source>> open_file_source(const file_source_options& options,
                                                         const source_state& from);

} // namespace troupe::ingest
