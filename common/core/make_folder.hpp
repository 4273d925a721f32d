#pragma once

#include "common/core/error.hpp"

#include <filesystem>

namespace troupe {

/// Makes a folder and those above it that are missing; one that is there is well.
expected<void> make_folder(const std::filesystem::path& path);

/// The same, for what nobody but our user may look into: takes the rights of others away, also of one that is
/// there, where it is ours.
expected<void> make_own_folder(const std::filesystem::path& path);

/// From now on all files, folders and sockets that this process makes are for its user alone, whatever the
/// umask was that it was started with. At the start of a program, before other threads.
void keep_to_ourselves() noexcept;

} // namespace troupe
