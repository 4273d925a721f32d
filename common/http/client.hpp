#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/http/server.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace troupe::http {

struct client_target {
  std::string host = "127.0.0.1";
  std::uint16_t port = 80;
  bool tls = false;
  std::string
      ca_file{}; ///< PEM file the server's certificate is checked against; empty: those of the system.

  /// Reads `http://host:port` or `https://host`.
  static expected<client_target> parse(std::string_view url);
};

/// A blocking HTTP/1.1 client with one connection that is kept open: for the command line and for tests. A
/// request on a kept connection that the server has closed meanwhile is sent once more on a fresh one. Not
/// thread-safe.
class client {
public:
  explicit client(client_target to);
  ~client();
  client(client&&) noexcept;
  client& operator=(client&&) noexcept;

  /// Fails with ec::unavailable (no connection), ec::too_late, ec::corrupt (no HTTP). Any status is an
  /// answer.
  expected<response> call(std::string_view method, std::string_view target, std::string body, deadline until,
                          const header_list& headers = {});

private:
  struct state;
  std::unique_ptr<state> state_;
};

} // namespace troupe::http
