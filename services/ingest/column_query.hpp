#pragma once

#include "services/ingest/lake.hpp"
#include "services/ingest/log/event_log.hpp"

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

namespace troupe::ingest {

/// Answers `fetch_columns` out of log and lake. A question that few records match is answered after a million
/// that were looked at, with what was found: its asker goes on from `next_offset`. Any thread.
expected<chunk> answer_columns(const chunk& payload, event_log& log, lake& archive);

} // namespace troupe::ingest
