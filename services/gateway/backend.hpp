#pragma once

#include "common/net/actors.hpp"
#include "common/net/client.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::gateway {

/// A service behind the gateway, as actors and handlers ask it; a test puts a function in its place.
class backend {
public:
  /// To any replica, or to that one. Calls `then` once, at the deadline at the latest.
  using call_function = std::function<void(std::optional<std::uint32_t> replica, wire::Kind, chunk, deadline,
                                           net::client::done then, net::trace_context)>;

  /// The catalog has none.
  backend() = default;
  backend(std::uint32_t replicas, call_function call) : replicas_{replicas}, call_{std::move(call)} {}
  /// Holds the client weakly: who opened it ends it; calls fail with ec::stopping then.
  explicit backend(const std::shared_ptr<net::client>& to);

  std::uint32_t replicas() const noexcept { return replicas_; }
  explicit operator bool() const noexcept { return call_ != nullptr; }

  /// Has the end of the call sent to `receiver` as (reply_atom, tag, result_ptr). The call holds `receiver`
  /// until it ends, for a request is owned by what it waits for. ec::unavailable where there is no such
  /// service.
  template <class Handle>
  void ask(const Handle& receiver, std::uint64_t tag, wire::Kind kind, chunk payload, deadline until,
           net::trace_context trace = {}, std::optional<std::uint32_t> replica = {}) const {
    auto then = [receiver, tag](expected<net::reply> got) {
      caf::anon_send(receiver, net::reply_atom::value, tag,
                     net::result_ptr{std::make_shared<const expected<net::reply>>(std::move(got))});
    };
    if (call_)
      call_(replica, kind, std::move(payload), until, std::move(then), trace);
    else
      then(fail(ec::unavailable, "the catalog of this fleet has no such service"));
  }

private:
  std::uint32_t replicas_ = 0;
  call_function call_;
};

/// The services behind the gateway.
struct backends {
  backend ingest, features, registry, deployer, ranker;
};

/// The other gateways: each keeps what happened to the requests that it answered.
struct peers {
  backend gateways;         ///< None: there is one gateway, or it may not ask the others.
  std::uint32_t self = 0;   ///< Our own replica.
  std::uint32_t steady = 0; ///< Replicas below this always run.
};

} // namespace troupe::gateway
