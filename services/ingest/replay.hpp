#pragma once

#include "services/ingest/event_log.hpp"
#include "services/ingest/judge.hpp"

#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::ingest {

struct replay_query {
  std::vector<std::uint64_t> numbers; ///< None: all that match and were not accepted yet.
  std::string rule;
  std::string source;
  std::string mapping; ///< TOML that stands in for the one of the import.
};

struct replay_result {
  std::uint64_t accepted = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t refused = 0;
};

/// Maps, checks and judges quarantined rows again and appends those that are good now; a row is marked as
/// replayed in the write that takes its records. Blocks; fails with ec::too_late when the deadline passes,
/// with what was done so far done.
expected<replay_result> replay_quarantine(event_log& log, const judge_function& judge,
                                          const replay_query& query, deadline until);

} // namespace troupe::ingest
