#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace troupe::ingest {

/// Files that were sent to be imported, for as long as an import needs them.
///
/// Data model: `<folder>/<upload>/<file>`; what is on its way lies beside its place as `.<name>.part`, which
/// no import sees. Operation: parts arrive in order; the last one has the file synced, given the time of its
/// original and renamed into place. Acknowledged bytes survive kill -9; after a power loss the sender is told
/// where to go on. An import holds its upload; when the last one lets go of it, it is removed or kept for
/// `keep` after that. Limits: `most_bytes` for all uploads together. Any thread; blocks on the disk.
class upload_store {
public:
  struct options {
    std::filesystem::path folder;
    std::uint64_t most_bytes = std::uint64_t{20} << 30;
    std::chrono::seconds keep = std::chrono::hours{7 * 24};
  };
  static expected<std::shared_ptr<upload_store>> open(options how);

  /// A part of a file. `upload` is 16 hexadecimal digits, `file` a relative path without hidden names.
  struct part {
    std::string_view upload, file;
    std::uint64_t size = 0;    ///< Of the whole file.
    std::int64_t modified = 0; ///< Of the original, microseconds since 1970.
    std::uint64_t offset = 0;
    byte_view bytes;
  };
  struct progress {
    std::uint64_t next_offset = 0;
    bool complete = false;
  };

  /// Takes a part. One that is there already changes nothing; one that leaves a gap is not taken, and
  /// `next_offset` says where to go on.
  expected<progress> put(const part& given);

  /// Where `what`, an upload or `upload/file`, lies; ec::invalid_argument for other names.
  expected<std::filesystem::path> place(std::string_view what) const;

  /// Whether `path` is one of ours.
  bool has(const std::filesystem::path& path) const { return !upload_of(path).empty(); }

  /// An import of `path` begins: if that is an upload, it stays.
  void hold(const std::filesystem::path& path);
  /// It has ended. `needless`: nobody will want the file again.
  void release(const std::filesystem::path& path, bool needless);

  /// Removes what nobody holds and nobody touched for `keep`.
  void sweep();

  /// Of all uploads together.
  std::uint64_t bytes() const;

private:
  explicit upload_store(options how) : how_{std::move(how)} {}
  std::string upload_of(const std::filesystem::path& path) const;
  expected<void> complete(const part& given, const std::filesystem::path& arrived,
                          const std::filesystem::path& to);
  void sweep_locked();
  void remove(const std::string& upload);

  options how_;
  mutable std::mutex mutex_;
  std::uint64_t bytes_ = 0;
  std::map<std::string, std::size_t> held_;
  std::chrono::steady_clock::time_point next_look_{};
};

} // namespace troupe::ingest
