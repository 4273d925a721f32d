#pragma once

#include "common/core/error.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

namespace troupe {

/// A file by content.
struct file_hash {
  std::string sha256; ///< 64 hexadecimal digits.
  std::uint64_t bytes = 0;
};

/// Reads the whole file, 1 MiB at a time. Fails with ec::not_found or ec::io_failed. Blocks.
expected<file_hash> hash_file(const std::filesystem::path& file);

} // namespace troupe
