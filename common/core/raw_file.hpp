#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

namespace troupe {

/// An open regular file that is read and written at offsets; closed when this ends. Errors name the file.
/// Blocks.
class raw_file {
public:
  /// `flags` as open(2) takes them; a file that is made is for its owner alone.
  static expected<raw_file> open(const std::filesystem::path& path, int flags);

  raw_file(raw_file&& other) noexcept : path_{std::move(other.path_)}, fd_{std::exchange(other.fd_, -1)} {}
  raw_file& operator=(raw_file&&) = delete;
  ~raw_file();

  /// Up to `bytes` bytes at `offset`; fewer at the end of the file.
  expected<std::string> read(std::uint64_t offset, std::size_t bytes) const;
  expected<void> write(std::uint64_t offset, byte_view bytes) const;
  expected<std::uint64_t> size() const;

  /// Has the disk hold what was written.
  expected<void> sync() const;

private:
  raw_file(std::filesystem::path path, int fd) : path_{std::move(path)}, fd_{fd} {}
  unexpected<error> refused(const char* doing) const;

  std::filesystem::path path_;
  int fd_;
};

} // namespace troupe
