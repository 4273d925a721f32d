#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/net/curve.hpp"
#include "common/net/envelope.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe::net {

/// A successful answer. Failures arrive as the error side.
struct reply {
  envelope info;
  chunk payload; ///< 8-byte aligned; verify it as the answer to the kind asked.
  std::uint32_t replica = 0;
};

struct client_options {
  std::string service;                ///< For messages: `validator`.
  std::vector<std::string> addresses; ///< One per replica, in replica order.
  std::string caller;                 ///< `ingest/0`, `cli`.
  std::size_t max_in_flight = 1024;   ///< Per replica; beyond it calls fail with ec::overloaded at once.
  double retry_budget = 0.1;          ///< Retries allowed per call made...
  double retry_floor = 10;            ///< ...and this many beyond it; refilled by one a second.
  unsigned max_attempts = 3;          ///< Per call, each on another replica.
  unsigned breaker_failures = 5;      ///< Consecutive failures that open the breaker of a replica.
  std::chrono::milliseconds breaker_open{1000};  ///< Then this long nothing is sent there, then one probe.
  std::chrono::milliseconds connect_wait{500};   ///< How long a call waits for a connection to appear...
  std::chrono::milliseconds handshake_wait{500}; ///< ...or this long for one that nobody has refused.
  std::optional<curve_client> curve;
};

enum class breaker_state : std::uint8_t { closed, open, half_open };

struct replica_info {
  std::string address;
  bool connected = false;
  breaker_state breaker = breaker_state::closed;
  std::uint64_t in_flight = 0;
};

struct client_counters {
  std::uint64_t calls = 0;
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t retries = 0;
  std::uint64_t retries_denied = 0;     ///< The retry budget was spent.
  std::uint64_t refused_overloaded = 0; ///< Our own in-flight bound.
  std::uint64_t connections_lost = 0;
  std::uint64_t dropped_late = 0; ///< Answers to calls that had already failed.
  std::uint64_t dropped_malformed = 0;
};

/// All replicas of one service as one thing to call: a DEALER per replica, and one thread that owns them.
///
/// A call ends exactly once, at its deadline at the latest. Errors: those the service answers; too_late;
/// unavailable (no connection, connection lost under way, breaker open); overloaded; unauthorized; stopping
/// (this client is being closed). Only idempotent kinds are sent again, on another replica, within the retry
/// budget. Calls from one thread to one replica arrive in order. Any thread.
class client {
public:
  using done = std::function<void(expected<reply>)>;

  /// Connects in the background; a service that is not there yet is no error.
  static expected<std::unique_ptr<client>> open(client_options options);

  /// Fails what is under way with ec::stopping. Not from a callback.
  ~client();
  client(const client&) = delete;
  client& operator=(const client&) = delete;

  /// Blocks the calling thread: for the command line and plain threads, never in an actor or a callback.
  expected<reply> call(wire::Kind kind, chunk payload, deadline until, trace_context trace = {});
  /// To this replica only; never retried.
  expected<reply> call_to(std::uint32_t replica, wire::Kind kind, chunk payload, deadline until,
                          trace_context trace = {});

  /// `then` runs once, on the socket thread (before this returns where the call is refused at the door): it
  /// must hand the answer on and return at once.
  void call_async(wire::Kind kind, chunk payload, deadline until, done then, trace_context trace = {});
  void call_async_to(std::uint32_t replica, wire::Kind kind, chunk payload, deadline until, done then,
                     trace_context trace = {});

  std::uint32_t replicas() const noexcept;
  const std::string& service() const noexcept;
  std::vector<replica_info> replica_states() const;
  client_counters counters() const noexcept;

private:
  struct impl;
  explicit client(std::unique_ptr<impl> made) noexcept;
  std::unique_ptr<impl> impl_;
};

} // namespace troupe::net
