#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <filesystem>
#include <string>

namespace troupe {

/// The bytes of a regular file as they are. Blocks.
expected<std::string> read_file(const std::filesystem::path& file);

/// Writes a file as a whole or not at all: beside its place, synced, then renamed; the name is on the disk
/// when this returns. One writer of a process and a file at a time. Blocks.
expected<void> write_file_atomically(const std::filesystem::path& file, byte_view bytes);

} // namespace troupe
