#include "common/http/server.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

using namespace troupe;

namespace {

/// Sends `text` to a port of this machine and gives everything that comes back until the other side closes.
std::string exchange(std::uint16_t port, std::string_view text) {
  int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    ::close(fd);
    return "refused";
  }
  (void)!::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  std::string got;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
    got.append(buffer, static_cast<std::size_t>(n));
  ::close(fd);
  return got;
}

expected<std::unique_ptr<http::server>> echo(http::server_options options = {}) {
  return http::server::start(options, [](const http::request& asked) {
    return http::response{200, "text/plain",
                          asked.method + " " + asked.path + " [" + asked.query + "] " + asked.body};
  });
}

} // namespace

TEST_CASE("the server hands over method, path, query and body") {
  auto server = echo();
  REQUIRE(server);

  auto got =
      exchange((*server)->port(),
               "POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");

  CHECK(got.find("HTTP/1.1 200 OK\r\n") == 0);
  CHECK(got.find("POST /a/b [c=d] hi") != std::string::npos);
}

TEST_CASE("two requests on one connection are both answered") {
  auto server = echo();
  REQUIRE(server);

  auto got = exchange((*server)->port(), "GET /one HTTP/1.1\r\nHost: x\r\n\r\n"
                                         "GET /two HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

  CHECK(got.find("GET /one") != std::string::npos);
  CHECK(got.find("GET /two") != std::string::npos);
}

TEST_CASE("many requests in one piece are all answered in order, more than a socket takes at once") {
  constexpr int many = 5'000;
  auto server = echo({.threads = 2});
  REQUIRE(server);
  std::string asked;
  for (int i = 0; i < many; ++i)
    asked += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n" +
             (i + 1 < many ? "\r\n" : "Connection: close\r\n\r\n");

  auto got = exchange((*server)->port(), asked);

  std::size_t at = 0;
  int answered = 0;
  while (answered < many && (at = got.find("GET /" + std::to_string(answered) + " []", at)) != got.npos)
    ++answered;
  CHECK(answered == many);
}

TEST_CASE("a body above the bound is answered 413") {
  auto server = echo({.max_body = 10});
  REQUIRE(server);

  auto got =
      exchange((*server)->port(), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world");

  CHECK(got.find("HTTP/1.1 413") == 0);
}

TEST_CASE("what is not HTTP is answered 400 and closed") {
  auto server = echo();
  REQUIRE(server);

  auto got = exchange((*server)->port(), "\x01\x02\x03 nonsense\r\n\r\n");

  CHECK(got.find("HTTP/1.1 400") == 0);
}

TEST_CASE("a connection above the bound is told so and closed") {
  auto server = echo({.max_connections = 0});
  REQUIRE(server);

  auto got = exchange((*server)->port(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");

  CHECK(got.find("HTTP/1.1 503") == 0);
  CHECK(got.find("Connection: close") != got.npos);
  CHECK(got.find("Retry-After: 1") != got.npos);
  CHECK((*server)->counters().refused_full == 1);
}

TEST_CASE("a port that is taken is named") {
  auto first = echo();
  REQUIRE(first);

  auto second = echo({.port = (*first)->port()});

  REQUIRE_FALSE(second);
  CHECK(second.error().text.find("cannot listen on 127.0.0.1:" + std::to_string((*first)->port())) == 0);
}

TEST_CASE("an address is loopback, a name that looks like one is not") {
  for (auto* own : {"127.0.0.1", "127.8.9.10", "::1"})
    CHECK(http::is_loopback(own));
  for (auto* other : {"", "localhost", "127.0.0.1.example.com", "10.0.0.1", "0.0.0.0", "::", "127.1 "})
    CHECK_FALSE(http::is_loopback(other));
}
