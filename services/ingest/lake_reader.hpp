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
/// as many as `cache_bytes` hold (a twentieth of their rows' bytes). Thread-safe; one file is read at a time.
class lake_reader {
public:
  explicit lake_reader(std::filesystem::path folder, std::size_t cache_bytes = std::size_t{64} << 20)
      : folder_{std::move(folder)}, cache_bytes_{cache_bytes} {}

  /// ec::corrupt where the file holds other records than the segment says.
  expected<std::shared_ptr<const lake_blocks>> read(const lake_segment& segment);

private:
  std::filesystem::path folder_;
  std::size_t cache_bytes_;
  std::mutex mutex_;
  std::list<std::shared_ptr<const lake_blocks>> known_; ///< The last used first.
};

/// Calls `use` for the records of a file of the lake, in their order. ec::corrupt as above.
expected<void> each_record(const std::filesystem::path& file, const lake_segment& segment,
                           const std::function<expected<void>(const record&)>& use);

} // namespace troupe::ingest
