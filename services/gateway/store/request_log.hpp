#pragma once

#include "services/gateway/store/state_database.hpp"

#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace troupe::gateway {

/// One key and its value, to be written in the same step as something else.
struct store_row {
  family of;
  std::string key, value;
};

/// What happened to recent requests, by their id: the last ones in memory, all within their time on disk. Any
/// thread.
class request_log {
public:
  struct options {
    std::size_t recent = 1'000;
    std::chrono::seconds ttl{3'600};
  };

  request_log(std::shared_ptr<store::database> in, options options) : db_{std::move(in)}, options_{options} {}

  /// From now on `get` knows it. Gives the rows that keep it beyond the life of this process: whoever writes
  /// the answer's slate writes them too.
  std::vector<store_row> put(const std::string& request_id, std::string inspection, timestamp now);

  /// A look into memory, or one read that blocks.
  expected<std::optional<std::string>> get(const std::string& request_id) const;

private:
  std::shared_ptr<store::database> db_;
  options options_;
  mutable std::mutex mutex_;
  std::deque<std::string> order_;
  std::unordered_map<std::string, std::string> recent_;
};

} // namespace troupe::gateway
