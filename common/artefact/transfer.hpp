#pragma once

#include "common/core/file_hash.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace troupe::net {
class client;
} // namespace troupe::net

namespace troupe::artefact {

/// Told after each part: bytes done of all.
using on_progress = std::function<void(std::uint64_t done, std::uint64_t all)>;

/// Sends a file to the registry as a blob, from where an earlier attempt ended; one that is there already is
/// not sent. Blocks.
expected<file_hash> upload(net::client& registry, const std::filesystem::path& file,
                           const on_progress& progress = {});

/// Fetches a blob into `to`, from where an earlier attempt ended (`to`.part). The content is checked before
/// the file has its name: ec::corrupt. Blocks.
expected<void> download(net::client& registry, std::string_view sha256, const std::filesystem::path& to,
                        const on_progress& progress = {});

} // namespace troupe::artefact
