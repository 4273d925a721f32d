#pragma once

#include "services/ingest/log/dedup_table.hpp"

#include "common/core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace troupe::ingest {

/// Many ids in a file that never changes: twelve bytes each, sorted, behind a Bloom filter in blocks of one
/// cache line (Putze, Sanders and Singler, 2007), which also say where their ids begin. The file is mapped:
/// an id that is not there costs one cache line as a rule (in 1 of 140 cases some 500 bytes more), and the
/// memory is the system's to take back. Any thread.
class dedup_run {
public:
  /// `path` is one that `write_run` or `merge_runs` wrote; ec::corrupt where it is not as they left it.
  static expected<std::shared_ptr<const dedup_run>> open(const std::filesystem::path& path);

  ~dedup_run();
  dedup_run(const dedup_run&) = delete;
  dedup_run& operator=(const dedup_run&) = delete;

  std::optional<std::uint32_t> find(std::uint64_t id) const noexcept;
  void prefetch(std::uint64_t id) const noexcept;

  std::uint64_t size() const noexcept { return entries_; }
  std::uint64_t disk_bytes() const noexcept { return bytes_; }
  const std::filesystem::path& path() const noexcept { return path_; }

private:
  dedup_run() = default;
  std::uint64_t block_of(std::uint64_t id) const noexcept;

  std::filesystem::path path_;
  const char* data_ = nullptr;
  std::uint64_t bytes_ = 0, entries_ = 0, blocks_ = 0;
};

/// Writes a run of `entries`, which are sorted by id; it is on the disk when this returns. Blocks.
expected<void> write_run(const std::filesystem::path& path, std::span<const dedup_entry> entries);

/// The same of all that `runs` hold. Reads and writes in pieces: needs a few MiB of memory.
expected<void> merge_runs(const std::filesystem::path& path,
                          std::span<const std::shared_ptr<const dedup_run>> runs);

} // namespace troupe::ingest
