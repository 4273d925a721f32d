#pragma once

#include "services/feature_store/actors.hpp"
#include "services/feature_store/metrics.hpp"

#include <caf/fwd.hpp>

#include <cstddef>
#include <functional>
#include <memory>

namespace troupe::feature_store {

struct read_parker_deps {
  /// Whether all that a read names is applied.
  std::function<bool(const net::request&)> reached;
  /// Answers a read that need not wait, on another thread.
  std::function<void(net::request_ptr)> serve;
  std::shared_ptr<service_metrics> metrics;
  std::size_t bound = 0; ///< Reads that may wait.
};

/// What makes a read see the writes before it: it waits here until they are applied.
///
/// Operation: a read is looked at when it comes and after each batch applied, in one mailbox with them: none
/// is forgotten between. Limits: `bound` reads wait, more are answered overloaded; one whose deadline passes
/// is answered too_late. On exit all are answered stopping.
read_parker_actor spawn_read_parker(caf::actor_system& system, read_parker_deps deps);

} // namespace troupe::feature_store
