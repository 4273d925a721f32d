#pragma once

#include "common/core/error.hpp"

#include <filesystem>

namespace troupe {

/// Makes a folder and those above it that are missing; one that is there is well.
expected<void> make_folder(const std::filesystem::path& path);

} // namespace troupe
