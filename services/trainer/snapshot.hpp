#pragma once

#include "services/ingest/client/record_stream.hpp"

#include <boost/json/object.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace troupe::trainer {

struct snapshot_options {
  std::vector<std::string> event_types; ///< Empty: all but impressions.
  /// Events whose attribute `arm` is one of these are left out: what was shown by another model is not ours.
  std::vector<std::string> exclude_arms;
  std::vector<std::uint64_t> offsets; ///< One past the last record, by partition; empty: the log's end.
  std::uint64_t memory_bytes = std::uint64_t{512} << 20;
  std::function<bool(std::uint64_t read, std::uint64_t total)> report; ///< False: end with ec::canceled.
};

/// Writes the events of the log as interactions: `user, item, event_time, value` by event time, those of one
/// instant by partition and offset. Where impressions are asked for, each item that a slate shows is one. The
/// same offsets give the same bytes. An event whose user or item is empty or holds a control character, as
/// logs of older versions may have it, is dropped: no vocabulary can name it. Gives what is to be known of
/// it: sha256, rows, offsets, dropped_events. Blocks.
expected<boost::json::object> take_snapshot(ingest::record_stream& log, const std::filesystem::path& file,
                                            const snapshot_options& options);

} // namespace troupe::trainer
