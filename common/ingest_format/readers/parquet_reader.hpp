#pragma once

#include "common/ingest_format/readers/source.hpp"

namespace troupe::ingest_format {

/// Reads a Parquet file; each row comes as a JSON object without its NULL columns.
expected<std::unique_ptr<source_reader>> open_parquet(const std::filesystem::path& path,
                                                      const source_options& options, source_position from);

} // namespace troupe::ingest_format
