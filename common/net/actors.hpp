#pragma once

#include "common/actor/weak_handle.hpp"
#include "common/net/client.hpp"
#include "common/net/request.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/atom.hpp>
#include <caf/send.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

/// The bridge between sockets and actors.
namespace troupe::net {

/// A request in an actor's mailbox: `(request_atom, request_ptr)`. One actor at a time may touch it; take
/// what you need out of it.
using request_ptr = std::shared_ptr<request>;

/// What a call ended with, in an actor's mailbox: `(reply_atom, tag, result_ptr)`.
using result_ptr = std::shared_ptr<const expected<reply>>;

using request_atom = caf::atom_constant<caf::atom("request")>;
using reply_atom = caf::atom_constant<caf::atom("reply")>;

} // namespace troupe::net

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::net::request_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(troupe::net::result_ptr)

namespace troupe::net {

/// A handler that sends `(request_atom, request_ptr)` to `to`. Holds it weakly: once the actor is gone,
/// requests are answered `stopping`.
template <class Handle>
handler forward_to(const Handle& to) {
  return [weak = weak_handle<Handle>{to}](request req) {
    if (auto strong = weak.lock())
      caf::anon_send(strong, request_atom::value, std::make_shared<request>(std::move(req)));
    else
      req.respond.fail({ec::stopping, "the actor that serves this request has ended"});
  };
}

/// Sends what a call ended with to `to` as `(reply_atom, tag, result_ptr)`. Holds it weakly.
template <class Handle>
client::done deliver_to(const Handle& to, std::uint64_t tag) {
  return [weak = weak_handle<Handle>{to}, tag](expected<reply> result) {
    if (auto strong = weak.lock())
      caf::anon_send(strong, reply_atom::value, tag,
                     result_ptr{std::make_shared<const expected<reply>>(std::move(result))});
  };
}

/// Calls, and delivers what the call ended with to `to`: at the deadline at the latest.
template <class Handle>
void call_for(client& from, const Handle& to, std::uint64_t tag, wire::Kind kind, chunk payload,
              deadline until, trace_context trace = {}) {
  from.call_async(kind, std::move(payload), until, deliver_to(to, tag), trace);
}

/// As `call_for`, to one replica.
template <class Handle>
void call_for(client& from, std::uint32_t replica, const Handle& to, std::uint64_t tag, wire::Kind kind,
              chunk payload, deadline until, trace_context trace = {}) {
  from.call_async_to(replica, kind, std::move(payload), until, deliver_to(to, tag), trace);
}

/// A service behind an actor as that sees it: asks one replica, tells once, by the deadline at the latest.
/// From any thread; the answer comes on any thread. Tests put another in the place of a client's.
using ask_function = std::function<void(std::uint32_t replica, wire::Kind, chunk, deadline, client::done)>;

inline ask_function ask_of(std::shared_ptr<client> to) {
  return [to = std::move(to)](std::uint32_t replica, wire::Kind kind, chunk payload, deadline until,
                              client::done then) {
    to->call_async_to(replica, kind, std::move(payload), until, std::move(then));
  };
}

/// As `call_for`, over an ask function.
template <class Handle>
void call_for(const ask_function& from, std::uint32_t replica, const Handle& to, std::uint64_t tag,
              wire::Kind kind, chunk payload, deadline until) {
  from(replica, kind, std::move(payload), until, deliver_to(to, tag));
}

} // namespace troupe::net
