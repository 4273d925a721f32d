#pragma once

#include "services/ingest/event_log.hpp"

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace troupe::ingest_format {
class mapping;
} // namespace troupe::ingest_format

namespace troupe::ingest {

/// A piece of a source on its way into the log.
struct source_batch {
  event_log::request_ptr request; ///< Records, their origins, refused rows, position and number.
  chunk encoded; ///< The records as a wire::Batch, for the judge; empty where there are none.
  std::uint64_t first_record = 0; ///< How many records the source gave before these.
};

/// Gives a source piece by piece. One thread at a time; blocks.
class batch_source {
public:
  virtual ~batch_source() = default;

  /// The next piece; the last one has `progress.done` and may be empty. Fails after everything before the
  /// broken place was given.
  virtual expected<source_batch> next() = 0;
};

/// Opens a source behind the given state.
using open_function = std::function<expected<std::unique_ptr<batch_source>>(const source_state& from)>;

struct file_setup {
  std::string path;
  std::string import;
  std::string key; ///< Where its position is kept.
  std::shared_ptr<const ingest_format::mapping> rules;
  bool named = false; ///< The user named this very file.
  std::size_t batch_rows = 2000;
};

/// A file read by its format and turned into records by a mapping.
expected<std::unique_ptr<batch_source>> open_file(const file_setup& setup, const source_state& from);

} // namespace troupe::ingest
