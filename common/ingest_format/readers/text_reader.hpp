#pragma once

#include "common/ingest_format/readers/source.hpp"

namespace troupe::ingest_format {

/// Reads CSV or JSON lines. `format` must be one of the two.
expected<std::unique_ptr<source_reader>> open_text(const std::filesystem::path& path, file_format format,
                                                   const source_options& options, source_position from);

} // namespace troupe::ingest_format
