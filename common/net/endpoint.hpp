#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/net/curve.hpp"
#include "common/net/request.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace troupe::net {

struct endpoint_options {
  std::string address;  ///< `ipc://path`, `tcp://host:port` (port 0: any free one), `inproc://name`.
  std::string identity; ///< `ingest/0`: the caller field of replies.
  std::size_t max_in_flight = 1024; ///< Requests admitted and not yet answered; more are `overloaded`.
  std::size_t max_message_bytes = std::size_t{256} << 20; ///< A longer frame closes its connection.
  std::chrono::milliseconds retry_after{50};              ///< Told to callers that are refused.
  std::optional<curve_server> curve;                      ///< Needed on tcp beyond loopback.
  std::function<void()> on_drain; ///< Called once when draining begins: answer parked long polls now.
  /// Told on the socket thread why no new connection is taken, and with an empty text when it is again.
  std::function<void(const std::string& why)> accept_fails{};
};

/// What an endpoint has seen since it was opened. Every message not answered is in one of the drop counters.
struct endpoint_counters {
  std::uint64_t requests = 0; ///< Admitted to a handler.
  std::uint64_t replies = 0;  ///< Given to the socket, refusals included.
  std::uint64_t refused_overloaded = 0;
  std::uint64_t refused_stopping = 0;
  std::uint64_t refused_too_late = 0;  ///< No time left on arrival; not done.
  std::uint64_t refused_kind = 0;      ///< No handler for the kind.
  std::uint64_t refused_version = 0;   ///< Envelope of a later version.
  std::uint64_t refused_key = 0;       ///< CURVE: the caller's key is not on the list.
  std::uint64_t refused_handshake = 0; ///< Connections that do not speak the protocol.
  std::uint64_t dropped_malformed = 0; ///< Not an envelope, or not two frames.
  std::uint64_t dropped_peer_gone = 0; ///< The asker has left before the answer.
  std::uint64_t dropped_peer_full = 0; ///< The asker does not read its answers.
  std::uint64_t in_flight = 0;
};

/// The server side of a service: one ROUTER socket and one thread that owns it.
///
/// Operation: a request is verified, checked for time left, kind and room, and given to its handler.
/// Concurrency: handlers run on the socket thread; everything else may be called from any thread.
/// Limits: max_in_flight requests; at most 256 messages a turn; replies wait in an outbox that the in-flight
/// bound bounds. While the process has only the file descriptors left that it keeps for itself (or the system
/// no more for it) it does not listen, and looks again four times a second: ZeroMQ 4.3 would try without a
/// break, and on an ipc:// socket end the process. Order: requests of one caller reach the handlers in the
/// order sent; answers go as given.
class endpoint {
public:
  /// Binds and serves at once.
  static expected<std::unique_ptr<endpoint>> open(endpoint_options options, handler_map handlers);

  /// Stops without waiting for what is in flight.
  ~endpoint();
  endpoint(const endpoint&) = delete;
  endpoint& operator=(const endpoint&) = delete;

  /// Where it listens, the real port in place of 0.
  const std::string& address() const noexcept;

  /// From now on new requests are answered `stopping`. Answers still go out.
  void begin_drain();

  /// begin_drain, then waits until every request is answered and its answer sent. False when that was not so
  /// by the deadline.
  bool drain(deadline until);

  /// Closes the socket and joins the thread; responders that are left do nothing. Not from a handler.
  void stop();

  endpoint_counters counters() const noexcept;

private:
  struct impl;
  explicit endpoint(std::unique_ptr<impl> made) noexcept;
  std::unique_ptr<impl> impl_;
};

} // namespace troupe::net
