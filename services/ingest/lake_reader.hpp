#pragma once

#include "services/ingest/log/column_block.hpp"
#include "services/ingest/log/log_types.hpp"

#include "common/core/error.hpp"

#include <cstddef>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace troupe::ingest {

/// A file of the lake as the log held it: blocks of columns one after the other.
struct lake_blocks {
  lake_segment segment;
  std::vector<std::string> blocks;
  std::size_t bytes = 0;
};

/// Reads files of the lake back. A file is read whole, once for all who go through it: the last ones stay,
/// as many as `cache_bytes` hold (a twentieth of their rows' bytes). Thread-safe; who wants a file that is
/// being read waits for it, and nobody else does. A read takes up to 512 MiB.
class lake_reader {
public:
  explicit lake_reader(std::filesystem::path folder, std::size_t cache_bytes = std::size_t{64} << 20)
      : folder_{std::move(folder)}, cache_bytes_{cache_bytes} {}

  /// ec::corrupt where the file holds other records than the segment says.
  expected<std::shared_ptr<const lake_blocks>> read(const lake_segment& segment);

private:
  struct held {
    lake_segment segment;
    std::mutex reading;
    std::shared_ptr<const lake_blocks> blocks; ///< Changed under both mutexes.
  };
  std::shared_ptr<held> place_of(const lake_segment& segment);
  expected<std::shared_ptr<const lake_blocks>> read_file(const lake_segment& segment) const;

  std::filesystem::path folder_;
  std::size_t cache_bytes_;
  std::mutex mutex_;
  std::list<std::shared_ptr<held>> known_; ///< The last used first.
};

/// Calls `use` for the records of a file of the lake, in their order. ec::corrupt as above.
expected<void> each_record(const std::filesystem::path& file, const lake_segment& segment,
                           const std::function<expected<void>(const record&)>& use);

} // namespace troupe::ingest
