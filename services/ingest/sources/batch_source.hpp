#pragma once

#include "services/ingest/admission/admission.hpp"
#include "services/ingest/log/log_types.hpp"

#include "common/core/error.hpp"

#include <functional>
#include <memory>

namespace troupe::ingest {

using admission_ptr = std::shared_ptr<admission>;

/// Gives a source piece by piece. One thread at a time; blocks.
class batch_source {
public:
  virtual ~batch_source() = default;

  /// The next piece; the last one has `progress.done` and may be empty. Fails after everything before the
  /// broken place was given.
  virtual expected<admission_ptr> next() = 0;
};

/// Opens a source behind the given state.
using open_function = std::function<expected<std::unique_ptr<batch_source>>(const source_state& from)>;

} // namespace troupe::ingest
