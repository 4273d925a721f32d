#include "common/http/problem.hpp"
#include "common/http/router.hpp"
#include "common/http/server.hpp"
#include "common/http/target.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

// A test a rule of RFC 9110 (semantics) and RFC 9112 (HTTP/1.1), in the bytes of the wire. What makes a
// message ambiguous is tested in limits.test.cpp.

using namespace troupe;

namespace {

/// Has one page, /page, and says what it was asked.
struct site {
  http::router routes;
  std::unique_ptr<http::server> server;

  explicit site(http::server_options options = {}) {
    routes.add("GET", "/page");
    routes.add("POST", "/page");
    options.max_body = 1'000;
    options.max_header = 1'024;
    options.before_body = [this](const http::request& head) -> std::optional<http::response> {
      if (routes.find(head.method, head.path).found)
        return std::nullopt;
      return http::problem(404, "not_found", "there is no such page");
    };
    server = http::server::start(std::move(options), [this](const http::request& asked) {
               auto found = routes.find(asked.method, asked.path);
               if (!found.found && asked.method == "OPTIONS" && !found.allow.empty())
                 return http::response{204, "text/plain", "", {{"Allow", found.allow}}};
               if (!found.found)
                 return http::problem(found.allow.empty() ? 404 : 405, "not_found", "no");
               std::string text = asked.method + " " + asked.path + " [" + asked.query + "] " + asked.body;
               for (const auto& [name, value] : asked.headers)
                 text += "\n" + name + "=" + value;
               return http::response{200, "text/plain", text + "\n"};
             }).value();
  }

  /// All that comes back for these bytes until the server closes.
  std::string say(std::string_view text) const {
    int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(server->port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
    (void)!::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    ::shutdown(fd, SHUT_WR);
    std::string got;
    char buffer[4096];
    for (ssize_t n; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
      got.append(buffer, static_cast<std::size_t>(n));
    ::close(fd);
    return got;
  }
};

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::size_t count(const std::string& text, std::string_view part) {
  std::size_t out = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++out;
  return out;
}

unsigned status_of(const std::string& answer) {
  return answer.starts_with("HTTP/1.1 ") ? static_cast<unsigned>(std::stoul(answer.substr(9, 3))) : 0;
}

constexpr auto closing = " HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

} // namespace

TEST_CASE("a target in absolute form is served, and its host is that of the request (RFC 9112, 3.2.2)") {
  site page;

  auto got = page.say(std::string{"GET http://b.example:81/page?q=1"} + closing);
  auto shouted = page.say(std::string{"GET HTTP://b.example/page"} + closing);
  auto rootless = page.say(std::string{"GET http://b.example?q"} + closing);

  CHECK(status_of(got) == 200);
  CHECK(has(got, "GET /page [q=1]"));
  CHECK(has(got, "Host=b.example:81"));
  CHECK_FALSE(has(got, "a.example"));
  CHECK(status_of(shouted) == 200);
  CHECK(status_of(rootless) == 404); // It is /, which this site does not have.
  for (const char* bad :
       {"http:///page", "http://u@b.example/page", "page", "http://b.example:x/page", "/page#part"})
    CHECK_MESSAGE(status_of(page.say(std::string{"GET "} + bad + closing)) == 400, bad);
  CHECK(status_of(page.say(std::string{"GET https://b.example/page"} + closing)) == 421);
  auto old = page.say("GET http://b.example/page HTTP/1.0\r\n\r\n"); // Without a header of that name.
  CHECK(status_of(old) == 200);
  CHECK(has(old, "Host=b.example\n"));
  CHECK(status_of(page.say("GET http://b.example/page HTTP/1.1\r\n\r\n")) ==
        400); // Host it has all the same.
}

TEST_CASE("empty lines before a request are skipped (RFC 9112, 2.2)") {
  site page;

  CHECK(status_of(page.say(std::string{"\r\nGET /page"} + closing)) == 200);
  CHECK(status_of(page.say(std::string{"\r\n\r\n\r\nGET /page"} + closing)) == 200);
  // As old clients send one behind a body.
  auto two = page.say("POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na\r\nGET /page" +
                      std::string{closing});
  CHECK(count(two, "HTTP/1.1 200") == 2);
  CHECK(page.say("\r\n\r\n").empty());
  CHECK(status_of(page.say(std::string{"\nGET /page"} + closing)) == 400);
}

TEST_CASE(
    "100 Continue is for HTTP/1.1, for a body, and for a request that is not refused (RFC 9110, 10.1.1)") {
  site page;
  auto ask = [&](const std::string& line, const std::string& fields, const std::string& body = "ab") {
    return page.say(line + "\r\nHost: x\r\nConnection: close\r\nExpect: 100-Continue\r\n" + fields + "\r\n" +
                    body);
  };

  auto met = ask("POST /page HTTP/1.1", "Content-Length: 2\r\n");
  CHECK(met.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
  CHECK(has(met, "[] ab"));
  auto chunked = ask("POST /page HTTP/1.1", "Transfer-Encoding: chunked\r\n", "2\r\nab\r\n0\r\n\r\n");
  CHECK(chunked.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
  CHECK(status_of(ask("POST /page HTTP/1.0", "Content-Length: 2\r\n")) == 200);
  CHECK(status_of(ask("GET /page HTTP/1.1", "", "")) == 200);
  CHECK(status_of(ask("POST /page HTTP/1.1", "Content-Length: 0\r\n", "")) == 200);
  auto nowhere = ask("POST /nowhere HTTP/1.1", "Content-Length: 2\r\n");
  CHECK(status_of(nowhere) == 404);
  CHECK(has(nowhere, "Connection: close"));
  CHECK(count(nowhere, "HTTP/1.1 ") == 1);
  CHECK(status_of(ask("POST /page HTTP/1.1", "Content-Length: 2000\r\n")) == 413);
  CHECK(status_of(ask("POST /page HTTP/1.1", "Expect: more\r\nContent-Length: 2\r\n")) == 417);
  CHECK(status_of(page.say("POST /page HTTP/1.0\r\nExpect: more\r\nContent-Length: 2\r\n\r\nab")) == 200);
}

TEST_CASE("OPTIONS says what the server, or one page, can be asked (RFC 9110, 9.3.7)") {
  site page;

  for (const char* target : {"*", "http://b.example", "/page"}) {
    auto got = page.say(std::string{"OPTIONS "} + target + closing);
    CHECK_MESSAGE(status_of(got) == 204, target);
    CHECK(has(got, "Allow: GET, HEAD, POST, OPTIONS\r\n"));
    CHECK_FALSE(has(got, "Content-Length")); // RFC 9110, 8.6
    CHECK_FALSE(has(got, "Content-Type"));
  }
  CHECK(status_of(page.say(std::string{"OPTIONS /nowhere"} + closing)) == 404);
  CHECK(status_of(page.say(std::string{"GET *"} + closing)) == 400);
}

TEST_CASE("a method that nobody knows is 501, one that the page has not is 405 (RFC 9110, 9.1)") {
  site page;

  for (const char* unknown : {"BREW", "get", "CONNECT", "PROPFIND"})
    CHECK_MESSAGE(status_of(page.say(std::string{unknown} + " /page" + closing)) == 501, unknown);
  for (const char* other : {"PUT", "DELETE", "PATCH", "TRACE"})
    CHECK_MESSAGE(status_of(page.say(std::string{other} + " /page" + closing)) == 405, other);
}

TEST_CASE("HEAD is answered as GET is, without the body, also where it is refused (RFC 9110, 9.3.2)") {
  site page;

  for (const char* request :
       {"HEAD /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "HEAD /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HEAD /page HTTP/1.1\r\n\r\n"}) {
    auto got = page.say(request);
    CHECK(has(got, "Content-Length: "));
    CHECK_FALSE(has(got, "Content-Length: 0"));
    CHECK_MESSAGE(got.ends_with("\r\n\r\n"), got);
  }
}

TEST_CASE("every answer has a date (RFC 9110, 6.6.1)") {
  site page;

  for (const char* path : {"/page", "/nowhere"}) {
    auto got = page.say(std::string{"GET "} + path + closing);
    auto at = got.find("\r\nDate: ");
    REQUIRE(at != std::string::npos);
    auto date = got.substr(at + 8, got.find("\r\n", at + 2) - at - 8);
    CHECK_MESSAGE((date.size() == 29 && date.ends_with(" GMT") && date[3] == ','), date);
  }
}

TEST_CASE("a Host is one, and a host (RFC 9112, 3.2)") {
  site page;
  auto with = [&](const std::string& host) {
    return status_of(page.say("GET /page HTTP/1.1\r\nHost:" + host + "\r\nConnection: close\r\n\r\n"));
  };

  for (const char* good : {"x", " x:80", " [::1]:80", " 127.0.0.1:", ""})
    CHECK_MESSAGE(with(good) == 200, good);
  for (const char* bad : {"a b", "a/b", "u@a", "a:b", ":80", "[::1", "[]", "a,b:1:2", "\"a\"", "a?b"})
    CHECK_MESSAGE(with(bad) == 400, bad);
  CHECK(status_of(page.say("GET /page HTTP/1.0\r\n\r\n")) == 200);
}

TEST_CASE("fields behind a chunked body are read and are no headers (RFC 9110, 6.5.1)") {
  site page;
  auto send = [&](const std::string& trailer) {
    return page.say(
        "POST /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        "2;why=\"a;b\"\r\nab\r\n0\r\n" +
        trailer + "\r\n");
  };

  auto got = send("Authorization: Bearer key\r\nX-More: 1\r\n");

  CHECK(status_of(got) == 200);
  CHECK(has(got, "[] ab"));
  CHECK_FALSE(has(got, "Authorization"));
  CHECK_FALSE(has(got, "X-More"));
  CHECK(status_of(send("Content-Length: 1\r\n")) == 400);
  CHECK(status_of(send("X-More : 1\r\n")) == 400);
  // They are bounded as a header is, however long they go on.
  CHECK(status_of(send("X-More: " + std::string(200'000, 'x') + "\r\n")) == 431);
}

TEST_CASE("a folded field is one line; blanks before the first field and before a colon are refused (RFC "
          "9112, 5)") {
  site page;

  auto folded =
      page.say("GET /page HTTP/1.1\r\nHost: x\r\nX-Long: a\r\n  b\r\n\tc\r\nConnection: close\r\n\r\n");

  CHECK(has(folded, "X-Long=a b c\n"));
  CHECK(status_of(page.say("GET /page HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n")) == 400);
  CHECK(status_of(page.say("GET /page HTTP/1.1\r\nHost: x\r\nX-A : 1\r\n\r\n")) == 400);
  CHECK(status_of(page.say("GET /page HTTP/1.1\r\nHost: x\r\n y\r\n\r\n")) == 400);
  CHECK(status_of(page.say("GET /page HTTP/1.1\r\nHost: x\r\nX-A: 1\rX-B: 2\r\n\r\n")) == 400);
  CHECK(status_of(page.say("POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n 1\r\n\r\n" +
                           std::string(11, 'x'))) == 400);
}

TEST_CASE("HTTP/1.1 stays open unless it is told to close, HTTP/1.0 the other way round (RFC 9112, 9.3)") {
  site page;
  auto twice = [&](const std::string& request) { return page.say(request + request); };

  auto modern = twice("GET /page HTTP/1.1\r\nHost: x\r\n\r\n");
  auto closed = twice("GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  auto old = twice("GET /page HTTP/1.0\r\n\r\n");
  auto kept = twice("GET /page HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");

  CHECK(count(modern, "HTTP/1.1 200") == 2);
  CHECK_FALSE(has(modern, "Connection: "));
  CHECK(count(closed, "HTTP/1.1 200") == 1);
  CHECK(has(closed, "Connection: close\r\n"));
  CHECK(count(old, "HTTP/1.1 200") == 1);
  CHECK(count(kept, "HTTP/1.1 200") == 2);
  CHECK(count(kept, "Connection: keep-alive\r\n") == 2);
}

TEST_CASE("another version is 505, an address without end 414 (RFC 9110, 15.5.15 and 15.6.6)") {
  site page;

  CHECK(status_of(page.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) == 505);
  CHECK(status_of(page.say("GET /page HTTP/0.9\r\n\r\n")) == 505);
  CHECK(status_of(page.say("GET /page\r\n\r\n")) == 400);
  CHECK(status_of(page.say("GET /page HTTP/1.1 x\r\n\r\n")) == 400);
  CHECK(status_of(page.say("GET /" + std::string(5'000, 'x') + closing)) == 414);
  CHECK(status_of(page.say("GET /page HTTP/1.1\r\nHost: x\r\nX-A: " + std::string(5'000, 'x') +
                           "\r\n\r\n")) == 431);
}
