#include "services/gateway/backend.hpp"

#include <algorithm>

namespace troupe::gateway {

backend::backend(const std::shared_ptr<net::client>& to) {
  if (!to)
    return;
  replicas_ = std::max(1u, to->replicas());
  call_ = [weak = std::weak_ptr{to}](std::optional<std::uint32_t> replica, wire::Kind kind, chunk payload,
                                     deadline until, net::client::done then, net::trace_context trace) {
    auto strong = weak.lock();
    if (!strong)
      return then(fail(ec::stopping, "the gateway stops"));
    if (replica)
      strong->call_async_to(*replica, kind, std::move(payload), until, std::move(then), trace);
    else
      strong->call_async(kind, std::move(payload), until, std::move(then), trace);
  };
}

} // namespace troupe::gateway
