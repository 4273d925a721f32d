#pragma once

#include "common/core/error.hpp"

#include <filesystem>

namespace troupe {

/// Refuses with ec::invalid_argument, by what it is, what a user named as a file and is none: a named pipe, a
/// socket, a device, a folder. Opening one of these may wait for ever. For what a library is going to open;
/// whoever reads by itself takes `open_regular`.
expected<void> check_regular(const std::filesystem::path& path);

/// Opens a regular file, and nothing else, without waiting: a descriptor that is closed on exec. `flags` are
/// open(2)'s; a file that is made is for its owner alone. Every file that is read here is opened so.
expected<int> open_regular(const std::filesystem::path& path, int flags);

} // namespace troupe
