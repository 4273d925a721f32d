#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace troupe {

/// What the settings of a service let it hold: its caches, buffers and queues, and its bounded stores on
/// disk.
struct resource_bounds {
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;
};

/// Lets this process have as many file descriptors as its hard limit allows; gives the limit from then on.
std::uint64_t raise_descriptor_limit() noexcept;

/// How many file descriptors this process may have at a time.
std::uint64_t descriptor_limit() noexcept;

/// How many of them are kept for its own files and sockets, whoever else would connect: a quarter of few, 320
/// of many.
std::uint64_t descriptors_kept() noexcept;

/// How many it has now; the limit where none is left to look with.
std::uint64_t descriptors_in_use() noexcept;

/// The memory that the control groups of this process leave it (cgroup v2: the least `memory.max` on the way
/// up); nothing where it is not limited. `root` is where /proc and /sys are.
std::optional<std::uint64_t> memory_limit(const std::filesystem::path& root = "/");

} // namespace troupe
