#pragma once

#include "services/ingest/readers/source.hpp"

namespace troupe::ingest {

/// Reads CSV or JSON lines. `format` must be one of the two.
expected<std::unique_ptr<source_reader>> open_text(const std::filesystem::path& path, file_format format,
                                                   const source_options& how, source_position from);

} // namespace troupe::ingest
