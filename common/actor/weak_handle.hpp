#pragma once

#include <caf/actor_cast.hpp>
#include <caf/actor_control_block.hpp>

namespace troupe {

/// A handle that does not keep its actor alive: for everything upstream (who spawned us, who subscribed).
template <class Handle>
class weak_handle {
public:
  weak_handle() = default;
  weak_handle(const Handle& to)
      : weak_{caf::actor_cast<caf::weak_actor_ptr>(to)} {} // NOLINT: meant to be implicit

  /// The actor, or an empty handle when it is gone.
  Handle lock() const {
    auto strong = weak_.lock();
    return strong ? caf::actor_cast<Handle>(strong) : Handle{};
  }

private:
  caf::weak_actor_ptr weak_;
};

} // namespace troupe
