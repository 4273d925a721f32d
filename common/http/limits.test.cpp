#include "common/core/resource_limits.hpp"
#include "common/http/client.hpp"
#include "common/http/problem.hpp"
#include "common/http/router.hpp"
#include "common/http/server.hpp"
#include "common/testing/temp_dir.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <future>
#include <mutex>
#include <thread>

using namespace troupe;
using namespace std::chrono_literals;

namespace {

int connect_to(std::uint16_t port) {
  int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd >= 0 && ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

/// Everything that comes until the other side closes.
std::string rest_of(int fd) {
  std::string got;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
    got.append(buffer, static_cast<std::size_t>(n));
  return got;
}

http::handler hello() {
  return [](const http::request& asked) {
    return http::response{200, "text/plain", "hello " + asked.path, {}};
  };
}

std::uint64_t resident_kib() {
  std::ifstream file{"/proc/self/status"};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("VmRSS:"))
      return std::strtoull(line.c_str() + 6, nullptr, 10);
  return 0;
}

} // namespace

TEST_CASE("a request may be answered later, from another thread") {
  std::promise<std::pair<http::request, http::responder>> arrived;
  auto server = *http::server::start_async({}, [&](http::request asked, http::responder respond) {
    arrived.set_value({std::move(asked), std::move(respond)});
  });
  std::thread answerer{[future = arrived.get_future()]() mutable {
    auto [asked, respond] = future.get();
    respond.reply({200, "text/plain", std::string{asked.header("x-who")}, {{"X-Back", "yes"}}});
  }};
  http::client client{{.port = server->port()}};

  auto got = client.call("GET", "/", "", deadline::in(10s), {{"X-Who", "me"}});

  answerer.join();
  REQUIRE(got);
  CHECK(got->body == "me");
}

TEST_CASE("a request that is given up is answered 500 with a problem document") {
  auto server = *http::server::start_async({}, [](http::request, http::responder) {});
  http::client client{{.port = server->port()}};

  auto got = client.call("GET", "/", "", deadline::in(10s));

  REQUIRE(got);
  CHECK(got->status == 500);
  CHECK(got->content_type == "application/problem+json");
}

TEST_CASE("a client that sends its header too slowly is cut off, others are served") {
  auto server = *http::server::start({.header_timeout = 50ms}, hello());
  int slow = connect_to(server->port());
  REQUIRE(slow >= 0);
  (void)!::send(slow, "GET / HT", 8, MSG_NOSIGNAL);
  http::client client{{.port = server->port()}};

  auto got = client.call("GET", "/x", "", deadline::in(10s));

  REQUIRE(got);
  CHECK(got->body == "hello /x");
  CHECK(rest_of(slow).empty());
  CHECK(server->counters().timed_out == 1);
  ::close(slow);
}

TEST_CASE("a client that sends its body too slowly is cut off") {
  auto server = *http::server::start({.body_timeout = 50ms}, hello());
  int slow = connect_to(server->port());
  std::string_view text = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc";
  (void)!::send(slow, text.data(), text.size(), MSG_NOSIGNAL);

  CHECK(rest_of(slow).empty());

  ::close(slow);
}

TEST_CASE("a header above the bound is answered 431") {
  auto server = *http::server::start({.max_header = 1024}, hello());
  http::client client{{.port = server->port()}};

  auto got = client.call("GET", "/", "", deadline::in(10s), {{"X-Long", std::string(5000, 'x')}});

  REQUIRE(got);
  CHECK(got->status == 431);
}

TEST_CASE("a body above the bound is answered 413 while it is still being sent") {
  auto server = *http::server::start({.max_body = 1000}, hello());
  http::client client{{.port = server->port()}};

  auto got = client.call("POST", "/", std::string(8 << 20, 'x'), deadline::in(20s));

  REQUIRE_MESSAGE(got, got.error().text);
  CHECK(got->status == 413);
}

TEST_CASE("an expectation is met before the body is sent") {
  auto server = *http::server::start({}, hello());
  int fd = connect_to(server->port());
  std::string_view head =
      "POST /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
  (void)!::send(fd, head.data(), head.size(), MSG_NOSIGNAL);
  char buffer[25];
  REQUIRE(::recv(fd, buffer, sizeof buffer, MSG_WAITALL) == 25);
  CHECK(std::string_view{buffer, 21} == "HTTP/1.1 100 Continue");
  (void)!::send(fd, "hi", 2, MSG_NOSIGNAL);

  CHECK(rest_of(fd).find("hello /e") != std::string::npos);

  ::close(fd);
}

TEST_CASE("a request that two programs could read differently is refused and its connection closed") {
  std::atomic<int> handled = 0;
  std::atomic<unsigned> told = 0;
  http::server_options options;
  options.rejected = [&](unsigned status) { told = status; };
  auto server = *http::server::start(std::move(options), [&](const http::request&) {
    ++handled;
    return http::response{};
  });
  auto answer_to = [&](const std::string& head) {
    int fd = connect_to(server->port());
    // What follows would be a second request to somebody who reads the first one otherwise.
    auto text = head + "\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)!::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    auto got = rest_of(fd);
    ::close(fd);
    CHECK_MESSAGE(got.find("\r\n\r\n{\"type\"") != std::string::npos, head, got);
    return got.substr(9, 3);
  };

  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n") ==
        "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n") ==
        "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n") == "501");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\t,gzip, chunked\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n") ==
        "400");
  CHECK(answer_to("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n") == "400");
  CHECK(answer_to("GET / HTTP/1.1\r\n") == "400");
  CHECK(answer_to("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n") == "400");
  CHECK(answer_to("GET / HTTP/1.1\r\nHost : x\r\n") == "400");
  CHECK(answer_to("POST / HTTP/1.1\r\nHost: x\r\nExpect: the-spanish-inquisition\r\nContent-Length: 1\r\n") ==
        "417");
  CHECK(told == 417);
  CHECK(handled == 0);
}

TEST_CASE("requests sent without waiting are answered in order, also when the first takes longer") {
  std::mutex mutex;
  std::vector<std::thread> later;
  auto server = *http::server::start_async({.threads = 2}, [&](http::request asked, http::responder respond) {
    std::lock_guard lock{mutex};
    later.emplace_back([asked = std::move(asked), respond = std::move(respond)]() mutable {
      if (asked.path == "/1")
        std::this_thread::sleep_for(50ms); // slow on purpose
      respond.reply({200, "text/plain", "<" + asked.path + asked.body + ">"});
    });
  });
  int fd = connect_to(server->port());
  std::string text = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
                     "POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
                     "HEAD /3 HTTP/1.1\r\nHost: x\r\n\r\n"
                     "POST /4 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nc";
  (void)!::send(fd, text.data(), text.size(), MSG_NOSIGNAL);

  auto got = rest_of(fd);

  ::close(fd);
  auto one = got.find("</1>"), two = got.find("</2ab>"), four = got.find("</4c>");
  CHECK(one < two);
  CHECK(two < four);
  CHECK(four != std::string::npos);
  CHECK(got.find("</3>") == std::string::npos);
  for (auto& each : later)
    each.join();
}

TEST_CASE("bodies that together hold more than they may are refused, and the room comes back") {
  auto server = *http::server::start({.max_body = 1 << 20, .max_bodies = 100'000}, hello());
  std::string head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n";
  int slow = connect_to(server->port());
  auto most = head + std::string(80'000, 'x');
  (void)!::send(slow, most.data(), most.size(), MSG_NOSIGNAL);
  while (server->counters().body_bytes < 80'000)
    std::this_thread::yield();
  http::client client{{.port = server->port()}};

  auto full = client.call("POST", "/", std::string(50'000, 'x'), deadline::in(10s));
  (void)!::send(slow, most.data(), 10'000, MSG_NOSIGNAL);
  char first[16];
  CHECK(::recv(slow, first, sizeof first, 0) > 0);
  auto again = client.call("POST", "/", std::string(50'000, 'x'), deadline::in(10s));

  REQUIRE(full);
  CHECK(full->status == 503);
  REQUIRE(again);
  CHECK(again->status == 200);
  CHECK(server->counters().body_bytes == 0);
  ::close(slow);
}

TEST_CASE("an idle connection is closed after its time, and costs little before") {
  constexpr int many = 1000;
  raise_descriptor_limit();
  auto server = *http::server::start({.max_connections = many, .idle = 60s}, hello());
  auto before = resident_kib();
  std::vector<int> open;
  for (int i = 0; i < many; ++i)
    open.push_back(connect_to(server->port()));
  CHECK(std::ranges::none_of(open, [](int fd) { return fd < 0; }));
  while (server->counters().accepted < many)
    std::this_thread::yield();

  CHECK(server->counters().connections == many);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int most_kib = 64; // what they keep of a connection weighs more than it
#else
  constexpr int most_kib = 8;
#endif
  CHECK(resident_kib() - before < most_kib * many);

  for (int fd : open)
    ::close(fd);
}

TEST_CASE("for a connection above the bound the one that has been idle for the longest time is closed") {
  auto server = *http::server::start({.max_connections = 3, .idle = 60s}, hello());
  std::vector<int> open;
  for (int i = 0; i < 3; ++i) {
    open.push_back(connect_to(server->port()));
    while (server->counters().accepted < open.size())
      std::this_thread::yield();
  }
  http::client client{{.port = server->port()}};

  auto got = client.call("GET", "/new", "", deadline::in(10s));

  REQUIRE(got);
  CHECK(got->body == "hello /new");
  CHECK(rest_of(open.front()).empty());
  CHECK(server->counters().made_room == 1);
  CHECK(server->counters().refused_full == 0);
  std::string_view ask = "GET /kept HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  (void)!::send(open.back(), ask.data(), ask.size(), MSG_NOSIGNAL);
  CHECK(rest_of(open.back()).find("hello /kept") != std::string::npos);
  for (int fd : open)
    ::close(fd);
}

TEST_CASE("a flood of connections does not outrun the threads that make room for it") {
  constexpr int many = 400, most = 20;
  auto server = *http::server::start({.max_connections = most, .idle = 60s, .threads = 3}, hello());
  std::vector<int> open;
  for (int i = 0; i < many; ++i)
    open.push_back(connect_to(server->port()));
  while (server->counters().accepted + server->counters().refused_full < many)
    std::this_thread::yield();

  CHECK(server->counters().refused_full == 0);
  CHECK(server->counters().made_room == many - most);
  CHECK(server->counters().connections <= most + 1);
  http::client client{{.port = server->port()}};
  auto got = client.call("GET", "/new", "", deadline::in(10s));
  REQUIRE(got);
  CHECK(got->body == "hello /new");
  for (int fd : open)
    ::close(fd);
}

TEST_CASE("a request that is on its way is not closed for a connection above the bound") {
  auto server = *http::server::start({.max_connections = 2, .idle = 60s, .header_timeout = 30s}, hello());
  int idle = connect_to(server->port());
  while (server->counters().accepted < 1)
    std::this_thread::yield();
  int slow = connect_to(server->port());
  // The answer to the first request says that the part of the second one has arrived, too.
  std::string_view text = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HT";
  (void)!::send(slow, text.data(), text.size(), MSG_NOSIGNAL);
  for (std::string got; got.find("hello /1") == std::string::npos;) {
    char some[4096];
    auto count = ::recv(slow, some, sizeof some, 0);
    REQUIRE(count > 0);
    got.append(some, static_cast<std::size_t>(count));
  }
  http::client client{{.port = server->port()}};

  auto got = client.call("GET", "/new", "", deadline::in(10s));
  std::string_view more = "TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  (void)!::send(slow, more.data(), more.size(), MSG_NOSIGNAL);

  REQUIRE(got);
  CHECK(got->body == "hello /new");
  CHECK(rest_of(idle).empty());
  CHECK(rest_of(slow).find("hello /2") != std::string::npos);
  CHECK(server->counters().made_room == 1);
  ::close(idle);
  ::close(slow);
}

TEST_CASE(
    "a server without a descriptor for one more connection says so, waits, and goes on when there are") {
  std::mutex mutex;
  std::condition_variable says;
  std::vector<std::string> said;
  http::server_options options;
  options.accept_fails = [&](const std::string& why) {
    std::lock_guard lock{mutex};
    said.push_back(why);
    says.notify_all();
  };
  auto server = *http::server::start(std::move(options), hello());
  auto heard = [&](std::size_t number) -> std::string {
    std::unique_lock lock{mutex};
    return says.wait_for(lock, 10s, [&] { return said.size() > number; }) ? said[number] : "nothing in time";
  };
  int last = ::socket(AF_INET, SOCK_STREAM, 0); // Of ours: connecting it takes no descriptor.
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(server->port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit none{static_cast<rlim_t>(last) + 1, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  std::vector<int> holes; // Below the new limit.
  for (int fd; (fd = ::dup(last)) >= 0;)
    holes.push_back(fd);

  // Nothing ends the test while the limit is low: those behind it would not find theirs.
  bool connected = ::connect(last, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  auto failed = heard(0);
  std::this_thread::sleep_for(300ms); // slow on purpose: how often it tries meanwhile is what is tested
  auto tries = server->counters().accept_failures;
  ::setrlimit(RLIMIT_NOFILE, &before);
  for (int fd : holes)
    ::close(fd);
  std::string_view ask = "GET /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  (void)!::send(last, ask.data(), ask.size(), MSG_NOSIGNAL);

  CHECK(connected);
  CHECK(failed.starts_with("no connection can be accepted"));
  CHECK(tries >= 1);
  CHECK(tries < 10);
  CHECK(rest_of(last).find("hello /late") != std::string::npos);
  CHECK(heard(1).empty());
  ::close(last);
}

TEST_CASE("a drain lets what is under way finish and closes what is idle") {
  std::promise<http::responder> arrived;
  auto server = *http::server::start_async(
      {}, [&](http::request, http::responder respond) { arrived.set_value(std::move(respond)); });
  int idle = connect_to(server->port());
  while (server->counters().accepted < 1)
    std::this_thread::yield();
  auto answer = std::async(std::launch::async, [port = server->port()] {
    http::client client{{.port = port}};
    return client.call("GET", "/", "", deadline::in(10s));
  });
  auto respond = arrived.get_future().get();

  CHECK_FALSE(server->drain(deadline::in(1ms)));
  respond.reply({200, "text/plain", "done", {}});

  CHECK(server->drain(deadline::in(10s)));
  auto got = answer.get();
  REQUIRE(got);
  CHECK(got->body == "done");
  CHECK(rest_of(idle).empty());
  ::close(idle);
}

TEST_CASE("a server may end while other threads answer its requests") {
  for (int round = 0; round < 50; ++round) {
    std::mutex mutex;
    std::vector<http::responder> waiting;
    std::atomic<int> arrived{0};
    auto server = *http::server::start_async({}, [&](http::request, http::responder respond) {
      std::lock_guard lock{mutex};
      waiting.push_back(std::move(respond));
      ++arrived;
    });
    std::vector<int> callers;
    for (int i = 0; i < 16; ++i) {
      callers.push_back(connect_to(server->port()));
      REQUIRE(::send(callers.back(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, 0) == 27);
    }
    while (arrived < 16)
      std::this_thread::yield();

    CHECK_FALSE(server->drain(deadline::in(0ms)));
    std::atomic<bool> go{false};
    std::thread answerer{[&] {
      while (!go) {
      }
      for (auto& each : waiting)
        each.reply({200, "text/plain", "late", {}});
    }};
    go = true;
    server.reset();
    answerer.join();
    for (auto each : callers)
      ::close(each);
  }
}

TEST_CASE("HEAD has the length of the body and no body") {
  auto server = *http::server::start({}, hello());
  http::client client{{.port = server->port()}};

  auto got = client.call("HEAD", "/", "", deadline::in(10s));
  auto next = client.call("GET", "/", "", deadline::in(10s));

  REQUIRE(got);
  CHECK(got->body.empty());
  REQUIRE(next);
  CHECK(next->body == "hello /");
}

TEST_CASE("TLS by certificate: the right authority is answered, another one is refused") {
  testing::temp_dir dir;
  auto make = [&](const std::string& name) {
    return "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test "
           "-addext subjectAltName=IP:127.0.0.1 -keyout " +
           (dir / (name + ".key")).string() + " -out " + (dir / (name + ".pem")).string() +
           " >/dev/null 2>&1";
  };
  REQUIRE(std::system(make("a").c_str()) == 0);
  REQUIRE(std::system(make("b").c_str()) == 0);
  auto server = http::server::start(
      {.tls_certificate = (dir / "a.pem").string(), .tls_key = (dir / "a.key").string()}, hello());
  REQUIRE_MESSAGE(server, server.error().text);
  http::client right{{.port = (*server)->port(), .tls = true, .ca_file = (dir / "a.pem").string()}};
  http::client wrong{{.port = (*server)->port(), .tls = true, .ca_file = (dir / "b.pem").string()}};

  auto got = right.call("GET", "/t", "", deadline::in(10s));
  auto again = right.call("GET", "/u", "", deadline::in(10s));

  REQUIRE_MESSAGE(got, got.error().text);
  CHECK(got->body == "hello /t");
  REQUIRE(again);
  CHECK_FALSE(wrong.call("GET", "/", "", deadline::in(10s)));
  CHECK_FALSE(http::server::start({.tls_certificate = (dir / "none.pem").string()}, hello()));
}

TEST_CASE("a router decodes parameters, prefers fixed segments and names the methods that exist") {
  http::router routes;
  auto one = routes.add("GET", "/v1/items/{id}");
  auto bulk = routes.add("GET", "/v1/items/top");
  routes.add("PUT", "/v1/items/{id}");

  auto found = routes.find("GET", "/v1/items/a%2Fb+c");
  CHECK(found.found->route == one);
  CHECK(found.found->parameters == std::vector<std::string>{"a/b+c"});
  CHECK(routes.find("GET", "/v1/items/top").found->route == bulk);
  CHECK(routes.find("HEAD", "/v1/items/x").found);
  http::router without;
  without.add("GET", "/seen", false);
  CHECK_FALSE(without.find("HEAD", "/seen").found);
  CHECK(without.find("HEAD", "/seen").allow == "GET, OPTIONS");
  CHECK_FALSE(routes.find("DELETE", "/v1/items/x").found);
  CHECK(routes.find("DELETE", "/v1/items/x").allow == "GET, HEAD, PUT, OPTIONS");
  CHECK(routes.find("OPTIONS", "*").allow == "GET, HEAD, PUT, OPTIONS");
  CHECK(routes.find("GET", "/v1/items/").allow.empty());
  CHECK_FALSE(routes.find("GET", "/v1/items/%zz").found);
}

TEST_CASE("a query is decoded; a broken escape is refused") {
  auto got = http::query_values::parse("n=5&who=a%20b+c&explain&x=%26");
  REQUIRE(got);
  CHECK(got->find("n") == "5");
  CHECK(got->find("who") == "a b c");
  CHECK(got->find("explain") == "");
  CHECK(got->find("x") == "&");
  CHECK_FALSE(got->find("y"));
  CHECK_FALSE(http::query_values::parse("a=%4"));
}

TEST_CASE("a problem document is JSON whatever the text, and says when to come back") {
  auto made = http::problem(error{ec::overloaded, "full \"\xff\n"}, 1500ms);

  CHECK(made.status == 503);
  CHECK(made.body == "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
                     "\"code\":\"overloaded\",\"detail\":\"full \\\"\xef\xbf\xbd\\n\"}");
  CHECK(made.headers == http::header_list{{"Retry-After", "2"}});
}
