#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/hash.hpp"
#include "common/metrics/metrics.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace troupe::registry {

/// Artefacts as files, each under the SHA-256 of its content: `<folder>/ab/cdef...`; what is still arriving
/// under
/// `<folder>/arriving`. One thread.
///
/// Operation: parts arrive in order, each synced before it is acknowledged, and hashed as they come, so that
/// the last one takes no longer than the others; after a start what had arrived is hashed from disk, some of
/// it with each part. The file is renamed into place when the hash is right. Reads see whole files only. What
/// nobody went on with for a day is removed. Atomicity: by rename, with the folder synced. Limits: `largest`
/// bytes a blob; the hashes of 64 arriving blobs are kept, of more they are computed again.
class blob_store {
public:
  /// How far a blob is.
  struct progress {
    std::uint64_t size = 0;
    std::uint64_t next_offset = 0;
    bool complete = false;
  };

  /// `taken` counts the bytes of blobs that became whole.
  static expected<blob_store> open(std::filesystem::path folder, std::uint64_t largest,
                                   metrics::counter taken = {});

  /// Takes the part of `sha256` that begins at `offset`. A part that is there already changes nothing; one
  /// that leaves a gap is not taken, and `next_offset` says where to go on. `size` is that of the whole blob;
  /// another one than before is a conflict. Content whose hash is wrong is thrown away: ec::corrupt.
  expected<progress> put(std::string_view sha256, std::uint64_t size, std::uint64_t offset, byte_view bytes);

  struct part {
    std::uint64_t size = 0; ///< Of the whole blob.
    std::string bytes;
  };
  expected<part> read(std::string_view sha256, std::uint64_t offset, std::uint64_t limit) const;

  /// Its size, or ec::not_found.
  expected<std::uint64_t> size_of(std::string_view sha256) const;

private:
  blob_store(std::filesystem::path folder, std::uint64_t largest, metrics::counter taken)
      : folder_{std::move(folder)}, largest_{largest}, taken_{taken} {}
  std::filesystem::path place(std::string_view sha256) const;
  expected<void> complete(const std::filesystem::path& arrived, std::string_view sha256,
                          const std::string& is);
  void drop_abandoned();

  /// The hash of the first `bytes` bytes of what is arriving.
  struct arrival {
    troupe::sha256 hash;
    std::uint64_t bytes = 0;
  };

  std::filesystem::path folder_;
  std::map<std::string, arrival> arrivals_; ///< By file name.
  std::chrono::steady_clock::time_point next_look_{};
  std::uint64_t largest_;
  metrics::counter taken_;
};

} // namespace troupe::registry
