#pragma once

#include "common/core/error.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

/// The only place that includes Boost.Beast.
namespace troupe::http {

struct request {
  std::string method; ///< `GET`.
  std::string path;   ///< Without the query: `/health/ready`.
  std::string query;  ///< After the question mark, not decoded.
  std::string body;
};

struct response {
  unsigned status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

/// Called on the thread of the server; must be quick and must not throw.
using handler = std::function<response(const request&)>;

struct server_options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;             ///< 0: any free one.
  std::uint32_t max_connections = 64; ///< One more is closed at once.
  std::uint64_t max_body = 64 << 10;  ///< Bytes; more is answered 413.
  std::uint32_t max_header = 16 << 10;
  std::chrono::milliseconds idle{
      10'000}; ///< A connection that neither sends nor reads for so long is closed.
};

/// A small HTTP/1.1 server for administration: one thread, bounded connections, bounded sizes, bounded waits.
class server {
public:
  /// Binds and starts to answer. Errors name the address and the port.
  static expected<std::unique_ptr<server>> start(server_options options, handler handle);

  /// Closes every connection and joins the thread.
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  std::uint16_t port() const noexcept;

private:
  struct state;
  explicit server(std::unique_ptr<state> state);
  std::unique_ptr<state> state_;
};

} // namespace troupe::http
