#pragma once

#include "services/ingest/log/log_types.hpp"

#include "common/core/error.hpp"
#include "common/store/database.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::ingest {

/// How far each source has been taken. A position moves with the log's own write. Any thread.
class source_positions {
public:
  explicit source_positions(store::database& db) : db_{db} {}

  expected<std::optional<source_state>> find(std::string_view key) const;

  /// All sources whose key starts with `prefix`.
  expected<std::vector<std::pair<std::string, source_state>>> list(std::string_view prefix) const;

  /// The next batch of these sources is number 0 again. Their records stay.
  expected<void> forget(std::string_view prefix);

  static void put(store::write_batch& to, std::string_view key, const source_state& state);

private:
  store::database& db_;
};

} // namespace troupe::ingest
