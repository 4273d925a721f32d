#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The only place that includes Boost.Beast and Boost.Asio.
namespace troupe::http {

using header_list = std::vector<std::pair<std::string, std::string>>;

struct request {
  std::string method; ///< `GET`.
  std::string path;   ///< Without the query, not decoded: `/health/ready`; `*` where OPTIONS asks of all.
  std::string query;  ///< After the question mark, not decoded.
  std::string body;
  header_list headers; ///< As they came.
  std::string peer;    ///< Address of the other side, without the port.
  deadline::clock::time_point arrived = deadline::clock::now(); ///< When the last byte was here.

  /// The first header of that name, whatever its case; empty when there is none.
  std::string_view header(std::string_view name) const noexcept;
};

struct response {
  unsigned status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  header_list headers{};
};

/// The duty to answer one request exactly once, from any thread. Destroyed unanswered it answers 500. After
/// its server has ended it does nothing.
class responder {
public:
  responder() = default;
  explicit responder(std::function<void(response)> send) : send_{std::move(send)} {}
  responder(responder&& other) noexcept : send_{std::exchange(other.send_, nullptr)} {}
  responder& operator=(responder&& other) noexcept;
  ~responder();

  void reply(response given);

  /// True until it has answered.
  explicit operator bool() const noexcept { return static_cast<bool>(send_); }

private:
  std::function<void(response)> send_;
};

/// Names of headers and codings: the case of ASCII letters does not count.
bool same_name(std::string_view a, std::string_view b) noexcept;

/// Whether an IP address reaches this machine only: 127.0.0.0/8 or ::1. A name is none: false.
bool is_loopback(std::string_view address) noexcept;

/// Called on a thread of the server; must be quick and must not throw.
using handler = std::function<response(const request&)>;

/// As `handler`; the answer may come later and from elsewhere.
using async_handler = std::function<void(request, responder)>;

struct server_options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;               ///< 0: any free one.
  std::uint32_t max_connections = 64;   ///< For one more an idle one is closed; where none is, it gets 503.
  std::uint64_t max_body = 64 << 10;    ///< Bytes; more is answered 413.
  std::uint64_t max_bodies = 256 << 20; ///< Bytes of all bodies at work; more is answered 503.
  std::uint32_t max_header = 16 << 10;
  std::chrono::milliseconds idle{10'000};           ///< Between two requests, and to take an answer.
  std::chrono::milliseconds header_timeout{10'000}; ///< From the first byte of a request to its empty line.
  std::chrono::milliseconds body_timeout{30'000};   ///< From there to its last byte.
  std::chrono::milliseconds answer_timeout{60'000}; ///< For the handler; then the connection is closed.
  std::uint32_t threads = 1;
  std::string tls_certificate{}; ///< PEM file of the chain; empty: plain HTTP.
  std::string tls_key{};         ///< PEM file of its private key.
  /// Asked about a request whose client waits for leave to send its body, as its header is there. What it
  /// gives is the answer, and the connection is closed. As a handler: quick, any thread.
  std::function<std::optional<response>(const request&)> before_body{};
  /// Told the status of each answer that the server gives without its handler. Any thread; must not block.
  std::function<void(unsigned)> rejected{};
  /// Told why no connection can be accepted any more, and with an empty text when it works again. As above.
  std::function<void(const std::string& why)> accept_fails{};
};

struct server_counters {
  std::uint64_t connections = 0; ///< Open now.
  std::uint64_t accepted = 0;
  std::uint64_t refused_full = 0; ///< Answered 503 or closed at once: too many connections.
  std::uint64_t made_room = 0;    ///< Closed while idle, for a new one.
  std::uint64_t timed_out = 0;    ///< Closed: too slow, or idle for too long.
  std::uint64_t malformed = 0;    ///< Not HTTP, ambiguous, or above a size limit.
  std::uint64_t requests = 0;
  std::uint64_t body_bytes = 0; ///< Of the requests that are not answered yet.
  std::uint64_t accept_failures = 0;
};

/// An HTTP/1.1 server, plain or TLS: bounded connections, bounded sizes, bounded waits.
///
/// Operation: an idle connection holds no buffer, only a socket and some hundred bytes; time limits are kept
/// by one sweep over all connections four times a second. Where the system has no descriptor or no memory for
/// one more connection the server waits and tries again, longer each time, up to a second. Requests of one
/// connection are answered in order, the next one is read when the one before is answered. A request whose
/// end or whose host could be read in two ways is answered 400 and its connection closed. Concurrency: each
/// connection belongs to one thread of the server, by turns; its handlers run there, those of different
/// threads at the same time. An answer that a handler gives at once goes out without leaving that thread.
class server {
public:
  /// Binds and starts to answer. Errors name the address and the port.
  static expected<std::unique_ptr<server>> start(server_options options, handler handle);
  static expected<std::unique_ptr<server>> start_async(server_options options, async_handler handle);

  /// Closes every connection and joins the threads.
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  std::uint16_t port() const noexcept;

  /// Accepts nobody any more, closes idle connections, and waits until those with a request under way have
  /// their answer. False when some had none by the deadline.
  bool drain(deadline until);

  server_counters counters() const noexcept;

private:
  struct state;
  explicit server(std::unique_ptr<state> state);
  std::unique_ptr<state> state_;
};

} // namespace troupe::http
