#pragma once

#include "services/gateway/actors.hpp"
#include "services/gateway/backend.hpp"
#include "services/gateway/http/exchange.hpp"

#include <cstdint>
#include <memory>
#include <optional>

namespace troupe::gateway {

struct gateway_deps;

/// What a handler may do while its request waits: ask and keep. All of it comes back to the handler, one
/// thing at a time.
class request_context {
public:
  virtual ~request_context() = default;

  virtual exchange& one() = 0;
  virtual gateway_deps& deps() = 0;

  /// Comes back as `on_reply` with the tag, at the deadline at the latest.
  virtual void ask(const backend& to, std::uint64_t tag, wire::Kind kind, chunk payload, deadline until,
                   std::optional<std::uint32_t> replica = {}) = 0;
  /// Keeps the slate of the answer, a wire::Batch or nothing, and what else belongs to it; comes back as
  /// `on_kept`.
  virtual void keep(chunk slate, std::vector<store_row> beside) = 0;
  /// Tells the fallback list what the log has taken; comes back as `on_listed`.
  virtual void list_written(records_ptr rows) = 0;
  /// Tells the fallback list what a ranker showed.
  virtual void list_shown(fallback_items_ptr items) = 0;
};

/// What serves one request of a route: plain code, one thread at a time. It must answer before it waits for
/// nothing more; it may still wait after its answer.
class handler {
public:
  explicit handler(request_context& in) : in_{in} {}
  virtual ~handler() = default;
  handler(const handler&) = delete;
  handler& operator=(const handler&) = delete;

  virtual void begin() = 0;
  virtual void on_reply(std::uint64_t tag, const expected<net::reply>& got);
  virtual void on_kept(bool safe);
  virtual void on_listed();

protected:
  exchange& one() { return in_.one(); }
  gateway_deps& deps() { return in_.deps(); }

  request_context& in_;
};

using handler_ptr = std::unique_ptr<handler>;

/// For the table of routes.
template <class Handler, auto... Arguments>
handler_ptr make_handler(request_context& in) {
  return std::make_unique<Handler>(in, Arguments...);
}

} // namespace troupe::gateway
