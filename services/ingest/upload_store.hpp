#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

namespace troupe::ingest {

/// Files that were sent to be imported, for as long as an import needs them.
///
/// Data model: `<folder>/<upload>/files/<file>`, whole files alone; what is on its way lies below
/// `<folder>/<upload>/arriving`. Operation: parts arrive in order, each synced before it is acknowledged;
/// with the last one the file gets the time of its original and is renamed into place. An import holds its
/// upload. One whose import is done goes with the next sweep, unless refused rows of it wait to be replayed;
/// any other goes when nobody touched it for `keep`, or earlier where room is needed. Limits: `most_bytes`
/// for all uploads together, each counted with what it is going to have. Concurrency: `hold`, `release`,
/// `place` and `bytes` from any thread, at once; `put` and `sweep` from one thread, which they block.
class upload_store {
public:
  struct options {
    std::filesystem::path folder;
    std::uint64_t most_bytes = std::uint64_t{5} << 30;
    std::chrono::seconds keep = std::chrono::hours{7 * 24};
    std::chrono::seconds idle{60}; ///< One that was touched since then does not make room for another.
  };
  static expected<std::shared_ptr<upload_store>> open(options options);

  /// A part of a file. `upload` is 16 hexadecimal digits, `file` a relative path.
  struct part {
    std::string_view upload, file;
    std::uint64_t size = 0;    ///< Of the whole file.
    std::uint64_t total = 0;   ///< Of all files of the upload.
    std::int64_t modified = 0; ///< Of the original, microseconds since 1970.
    std::uint64_t offset = 0;
    byte_view bytes;
    bool more = false; ///< The file has no end yet: `size` and `total` are of what was sent so far.
  };
  struct progress {
    std::uint64_t next_offset = 0;
    bool complete = false;
  };

  /// Takes a part. One that is there already changes nothing; one that leaves a gap is not taken, and
  /// `next_offset` says where to go on. ec::overloaded: there is no room now.
  expected<progress> put(const part& given);

  /// Where `what`, an upload or `upload/path`, lies; ec::invalid_argument for other names.
  expected<std::filesystem::path> place(std::string_view what) const;

  /// The upload that `path` is of; empty where it is none.
  std::string upload_of(const std::filesystem::path& path) const;

  /// An import of `path` begins: if that is an upload, it stays.
  void hold(const std::filesystem::path& path);
  /// It has ended; `done`: all of it is in the log.
  void release(const std::filesystem::path& path, bool done);

  /// Removes what nobody needs. `waiting` gives the uploads of which rows wait in quarantine; it is asked
  /// only where an upload depends on that.
  expected<void> sweep(const std::function<expected<std::set<std::string>>()>& waiting);

  /// Of all uploads together.
  std::uint64_t bytes() const noexcept { return all_; }

private:
  explicit upload_store(options options) : options_{std::move(options)} {}
  expected<void> make_room(const part& given);
  expected<void> complete(const part& given, const std::filesystem::path& arrived,
                          const std::filesystem::path& to);
  bool is_held(const std::string& upload) const;
  void touch(const std::string& upload);
  std::chrono::nanoseconds untouched(const std::string& upload) const;
  void set_size(const std::string& upload, std::uint64_t bytes);
  void remove(const std::string& upload, std::string_view why);

  options options_;
  std::map<std::string, std::uint64_t> sizes_; ///< What each has, or is going to have.
  std::atomic<std::uint64_t> all_{0};
  mutable std::mutex mutex_; ///< Of what follows; never held over the disk.
  std::map<std::string, std::size_t> held_;
  std::set<std::string> done_;
};

} // namespace troupe::ingest
