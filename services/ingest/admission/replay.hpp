#pragma once

#include "services/ingest/admission/row_validation.hpp"
#include "services/ingest/log/event_log.hpp"

#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::ingest {

struct replay_query {
  std::vector<std::uint64_t> numbers{}; ///< None: all that match and were not accepted yet.
  std::string rule{};
  std::string source{};
  std::string mapping{}; ///< TOML that stands in for the one of the import.
};

struct replay_result {
  std::uint64_t accepted = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t refused = 0;
};

/// Maps, checks and validates quarantined rows again and appends those that are good now; a row is marked as
/// replayed in the write that takes its records, one that is refused again stays as it is. Blocks; fails with
/// ec::too_late when the deadline passes, with what was done so far done.
expected<replay_result> replay_quarantine(event_log& log, const validate_function& validate,
                                          const replay_query& query, deadline until);

} // namespace troupe::ingest
