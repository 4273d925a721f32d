#pragma once

#include "common/core/error.hpp"
#include "common/ingest_format/readers/source.hpp"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace troupe::ingest_format {

/// The uncompressed bytes of a file, from the beginning to the end.
class byte_stream {
public:
  virtual ~byte_stream() = default;

  /// Fills some of `to`; 0 is the end. A compressed file that is cut off or damaged gives everything before
  /// that place, then ec::corrupt with the byte.
  virtual expected<std::size_t> read(std::span<char> to) = 0;

  /// Goes to a byte of the content; false where that is not possible and the bytes must be read.
  virtual expected<bool> seek(std::uint64_t offset) = 0;

  virtual std::uint64_t disk_bytes_read() const noexcept = 0;
  virtual std::uint64_t disk_bytes_total() const noexcept = 0;
};

/// Opens a regular file; whether it is compressed is told by its first bytes. A file named .gz or .zst that
/// is not compressed so is an error. Where `stop` becomes true, reads fail with ec::canceled.
expected<std::unique_ptr<byte_stream>> open_stream(const std::filesystem::path& path,
                                                   std::shared_ptr<const std::atomic<bool>> stop = {});

} // namespace troupe::ingest_format
