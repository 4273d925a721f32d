#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/net/envelope.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace troupe::net {

namespace detail {

/// Where answers go; outlives the endpoint as long as a responder holds it.
class reply_sink {
public:
  virtual ~reply_sink() = default;
  virtual void send(std::string route, envelope head, chunk payload) = 0;
};

} // namespace detail

/// The duty to answer one request exactly once, from any thread. The first of `reply`, `fail` and `finish`
/// counts, later ones do nothing; destroyed unanswered it answers ec::internal. After its endpoint has
/// stopped it does nothing. An answer given after the deadline goes out as ec::too_late without its payload.
class responder {
public:
  responder() = default;
  responder(std::shared_ptr<detail::reply_sink> sink, std::string route, wire::Kind kind, hash128 request_id,
            trace_context trace, deadline until);

  /// Answers a function instead of a socket: for tests, and for requests made inside this process.
  static responder to(std::function<void(expected<chunk>)> tell);

  responder(responder&&) noexcept = default;
  responder& operator=(responder&& other) noexcept;
  ~responder();

  void reply(chunk payload);
  void fail(error err, std::chrono::milliseconds retry_after = {});
  void finish(expected<chunk> result);

  /// True until it has answered.
  explicit operator bool() const noexcept { return sink_ != nullptr; }

private:
  void send(envelope head, chunk payload);

  std::shared_ptr<detail::reply_sink> sink_;
  std::string route_;
  wire::Kind kind_ = wire::Kind::none;
  hash128 request_id_;
  trace_context trace_;
  deadline until_{deadline::clock::time_point::max()};
};

/// A request as a handler gets it: admitted, its envelope verified, its payload not yet. Move it to where the
/// work is done.
struct request {
  envelope info;
  chunk payload; ///< 8-byte aligned; verify it as the message of `info.kind`.
  deadline until{deadline::clock::time_point::max()};
  responder respond;
};

/// Runs on the thread that owns the sockets: must hand the work on and return at once (some microseconds).
using handler = std::function<void(request)>;

/// What an endpoint serves. Other kinds are answered ec::invalid_argument.
using handler_map = std::map<wire::Kind, handler>;

} // namespace troupe::net
