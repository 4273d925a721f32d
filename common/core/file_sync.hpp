#pragma once

#include "common/core/error.hpp"

#include <filesystem>

namespace troupe {

/// Has the disk hold what was written to a file, or the names in a folder. Blocks.
expected<void> sync_file(const std::filesystem::path& path);

} // namespace troupe
