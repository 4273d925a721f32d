#pragma once

#include "services/ingest/log/log_types.hpp"

#include "common/core/error.hpp"
#include "common/store/database.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::ingest {

/// The rows that were refused. They come and are marked with the log's own write. Any thread.
class row_quarantine {
public:
  explicit row_quarantine(store::database& db) : db_{db} {}

  struct query {
    std::uint64_t after = 0;
    std::size_t limit = 100;
    std::string rule{};
    std::string source{};   ///< Its whole name, or the end of its path: "b.csv" finds "/a/b.csv".
    bool open_only = false; ///< Without rows that were replayed.
  };
  expected<std::vector<quarantined_row>> list(const query& which) const;

  static void add(store::write_batch& to, const quarantined_row& row);

  /// A number that is not there is left out.
  expected<void> mark_replayed(store::write_batch& to, std::uint64_t number) const;

  /// Takes away rows that were refused before `older_than`, the oldest first. Gives how many.
  expected<std::size_t> expire(timestamp older_than) const;

private:
  store::database& db_;
};

} // namespace troupe::ingest
