#pragma once

#include "common/core/error.hpp"
#include "common/store/database.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::ingest {

/// Small rows beside the log, by key: the imports under way. Each write is synced. Any thread.
class metadata_store {
public:
  explicit metadata_store(store::database& db) : db_{db} {}

  expected<void> put(std::string_view key, std::string_view value);

  /// Keys and values whose key starts with `prefix`.
  expected<std::vector<std::pair<std::string, std::string>>> list(std::string_view prefix) const;

private:
  store::database& db_;
};

} // namespace troupe::ingest
