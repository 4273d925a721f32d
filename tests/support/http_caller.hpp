#pragma once

#include "tests/support/fleet.hpp"

#include "common/http/client.hpp"

#include <arpa/inet.h>
#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace troupe::testing {

/// HTTP as a caller speaks it.
struct caller {
  std::uint16_t port;
  troupe::http::client client;
  troupe::http::header_list headers;

  explicit caller(const fleet& of)
      : port{static_cast<std::uint16_t>(std::stoi(read_file(of.data() / "run" / "gateway-0.port")))},
        client{{"127.0.0.1", port}} {}

  troupe::http::response ask(const std::string& method, const std::string& path, std::string body = {}) {
    auto got = client.call(method, path, std::move(body), troupe::deadline::in(60s), headers);
    REQUIRE_MESSAGE(got, method, " ", path, ": ", got.error().text);
    return *got;
  }
  json good(const std::string& method, const std::string& path, std::string body = {}) {
    auto got = ask(method, path, std::move(body));
    REQUIRE_MESSAGE(got.status == 200, method, " ", path, ": ", got.body);
    return boost::json::parse(got.body);
  }
  /// The status of a refusal that is a problem document.
  unsigned bad(const std::string& method, const std::string& path, std::string body = {}) {
    auto got = ask(method, path, std::move(body));
    auto read = boost::json::parse(got.body);
    CHECK(got.content_type == "application/problem+json");
    CHECK(number(read, "status") == got.status);
    return got.status;
  }
};

/// A TCP connection that says what no good client would.
struct bare {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  explicit bare(std::uint16_t port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    timeval limit{20, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  }
  ~bare() { ::close(fd); }
  bare(const bare&) = delete;
  void send(std::string_view text) const { (void)!::send(fd, text.data(), text.size(), MSG_NOSIGNAL); }
  /// All until the other side closes.
  std::string rest() const {
    std::string out;
    char part[4096];
    for (ssize_t got; (got = ::recv(fd, part, sizeof part, 0)) > 0;)
      out.append(part, static_cast<std::size_t>(got));
    return out;
  }
};

} // namespace troupe::testing
