#include "tests/support/http_caller.hpp"
#include "tests/support/input.hpp"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <thread>

using namespace troupe::testing;

namespace {

/// Resident memory of a process, in KiB.
std::int64_t resident_kib(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("VmRSS:"))
      return std::strtoll(line.c_str() + 6, nullptr, 10);
  return 0;
}

/// A fleet of which only the gateway's limits matter: small sizes, short waits.
void small_limits(const fleet& services) {
  auto catalog = read_file(services.temp() / "catalog.toml");
  auto settings = catalog.find("http_port = 0\n");
  REQUIRE(settings != std::string::npos);
  catalog.insert(settings,
                 "header_timeout = \"1s\"\nbody_timeout = \"1s\"\nmax_body = 200000\nmax_rows = 1000\n");
  write_file(services.temp() / "catalog.toml", catalog);
}

/// The status of what comes before the connection is closed; nothing but the closing is 0.
int status_of(const std::string& answer) {
  return answer.starts_with("HTTP/1.1 ") ? std::stoi(answer.substr(9, 3)) : 0;
}

std::string post(const std::string& body, const std::string& more = {}) {
  return "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n" + more +
         "Content-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
}

} // namespace

TEST_CASE(
    "whatever comes over HTTP, the answer is a problem document or a closed connection, and the gateway "
    "stays as it was") {
  fleet services{"scenario-http-bad-input"};
  configure(services, "serving");
  small_limits(services);
  services.up();
  caller http{services};
  auto pid = services.pid_of("gateway");
  REQUIRE(pid);

  SUBCASE("bodies that are no JSON, of the wrong type, too deep, too long") {
    for (const char* bad : {"", " ", "{\"type\":", "[1,", "null", "7", "\"text\"", "[1] 2", "{\"a\":1}}",
                            "\xff\xfe", "{\"type\":\"\xc3\x28\"", "[{\"type\":\"click\",}]"})
      CHECK_MESSAGE(http.bad("POST", "/v1/events", bad) == 400, bad);
    CHECK(http.bad("POST", "/v1/events", std::string(100'000, '[')) == 400);
    std::string many = "[0";
    for (int i = 0; i < 1'000; ++i)
      many += ",0";
    CHECK(http.bad("POST", "/v1/events", many + "]") == 413);
    for (const char* bad :
         {"[]", "7", R"({"user":7.5})", R"({"n":"many"})", R"({"n":1e300})", R"({"n":-1})",
          R"({"explain":"yes"})", R"({"session":{}})", R"({"filters":[1]})", R"({"colour":1})"})
      CHECK_MESSAGE(http.bad("POST", "/v1/recommendations", bad) == 400, bad);
    for (const char* bad :
         {"[]", R"({"item":"other"})", R"({"attributes":[1]})", R"({"event_time":"yesterday"})",
          R"({"attributes":{"price":1e999}})", R"({"attributes":{"a":1,"a":1}})"})
      CHECK_MESSAGE(http.bad("PUT", "/v1/items/i1", bad) == 400, bad);
    // In a list each row is judged by itself.
    auto judged = http.good("POST", "/v1/events",
                            R"([{"type":"click","user":7.5,"item":"i"},{"type":"click","user":"u"},)"
                            R"({"type":"click","user":"u","item":"i","value":1e999},)"
                            R"({"type":"click","user":"u","item":"i","event_time":"2026-01-01T00:00:00Z"}])");
    CHECK(number(judged, "added") == 1);
    CHECK(number(judged, "refused") == 3);
    CHECK(judged.at("rows").as_array().size() == 4);
  }

  SUBCASE("addresses: unknown ids, broken escapes, odd but right ones") {
    CHECK(http.bad("GET", "/v1/nothing") == 404);
    CHECK(http.bad("GET", "/v1/items/nowhere/") == 404);
    CHECK(http.bad("GET", "/v1/users//recommendations") == 404);
    CHECK(http.bad("GET", "/v1/requests/0123") == 404);
    CHECK(http.bad("GET", "/v1/users/%zz/recommendations") == 400);
    CHECK(http.bad("GET", "/v1/users/%ff/recommendations") == 400);
    CHECK(http.bad("GET", "/v1/users/u/recommendations?n=%") == 400);
    CHECK(http.bad("GET", "/v1/users/u/recommendations?n=1001") == 400);
    CHECK(http.bad("GET", "/v1/users/" + std::string(1'100, 'u') + "/recommendations") == 400);
    CHECK(http.bad("PATCH", "/v1/items/i1") == 405);
    CHECK(http.bad("BREW", "/v1/items/i1") == 501);
    CHECK(http.bad("GET", "/v1/items/i1?colour=red") == 400);
    CHECK(http.ask("HEAD", "/health/live").body.empty());
    CHECK(http.ask("HEAD", "/v1/users/u/recommendations").status == 405);
    auto raw = [&](std::string_view request) {
      bare one{http.port};
      one.send(request);
      return status_of(one.rest());
    };
    CHECK(raw("GET http://localhost/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") ==
          200);
    CHECK(
        raw("GET http://evil.example/v1/items/i1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") ==
        403);
    CHECK(raw("GET http://evil.example/v1/items/i1 HTTP/1.0\r\n\r\n") == 403);
    CHECK(raw("\r\nGET /health/live HTTP/1.0\r\n\r\n") == 200);
    CHECK(raw("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") == 204);
    CHECK(raw("POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
              "9\r\n\r\n") == 404);
    CHECK(raw("POST /v1/events HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n[]") == 200);
    // Somebody nobody knows gets an answer; slash, percent, quotes and other alphabets are part of an id.
    auto odd = http.good("GET", "/v1/users/a%2Fb%25%22%E2%98%83/recommendations?n=1");
    CHECK(odd.at("user") == "a/b%\"\xe2\x98\x83");
    for (const char* control : {"%00", "a%0Ab", "%7f"})
      CHECK(http.bad("GET", "/v1/users/" + std::string{control} + "/recommendations") == 400);
  }

  SUBCASE("sizes, slow clients and messages with two meanings") {
    bare huge{http.port};
    huge.send("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n");
    CHECK(status_of(huge.rest()) == 413);
    bare growing{http.port};
    growing.send("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    std::thread feeder{[&] {
      for (int i = 0; i < 40; ++i)
        growing.send("2000\r\n" + std::string(0x2000, 'x') + "\r\n");
    }};
    CHECK(status_of(growing.rest()) == 413);
    feeder.join();
    bare wide{http.port};
    wide.send("GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Long: " + std::string(100'000, 'x') +
              "\r\n\r\n");
    CHECK(status_of(wide.rest()) == 431);
    bare both{http.port};
    both.send(post("[]", "Transfer-Encoding: chunked\r\n"));
    CHECK(status_of(both.rest()) == 400);
    bare refused{http.port};
    refused.send("POST /v1/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
                 "99999999\r\n\r\n");
    CHECK(status_of(refused.rest()) == 413);
    bare noise{http.port};
    noise.send(std::string_view{"\x16\x03\x01\0\xff\xfe\r\n\r\n", 10});
    CHECK(status_of(noise.rest()) == 400);

    // A byte now and then does not keep a connection: header and body have their time as a whole.
    std::vector<std::unique_ptr<bare>> slow;
    for (int i = 0; i < 20; ++i) {
      slow.push_back(std::make_unique<bare>(http.port));
      slow.back()->send(i % 2 == 0
                            ? "GET /health/live HT"
                            : "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n[");
    }
    std::atomic<bool> dripping = true;
    std::thread drip{[&] {
      while (dripping) {
        for (auto& each : slow)
          each->send(" ");
        std::this_thread::sleep_for(200ms);
      }
    }};
    CHECK(http.good("GET", "/v1/users/u/recommendations").as_object().contains("items"));
    for (auto& each : slow)
      CHECK(status_of(each->rest()) == 0);
    dripping = false;
    drip.join();
  }

  SUBCASE("ten thousand idle connections") {
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    auto count = std::min<std::size_t>(10'000, files.rlim_cur - 200);
    auto before = resident_kib(*pid);
    std::vector<std::unique_ptr<bare>> idle;
    for (std::size_t i = 0; i < count; ++i)
      idle.push_back(std::make_unique<bare>(http.port));
    auto open = [&] {
      auto text = http.ask("GET", "/metrics").body;
      auto at = text.find("\ntroupe_gateway_connections ");
      return at == std::string::npos ? 0 : std::stoul(text.substr(at + 28));
    };
    CHECK(wait_until([&] { return open() > count; }, 20s));
    auto grown = resident_kib(*pid) - before;
    CHECK_MESSAGE(grown < static_cast<std::int64_t>(count) * 8, count, " idle connections hold ", grown,
                  " KiB");
    CHECK(http.good("GET", "/v1/users/u/recommendations").as_object().contains("items"));
    idle.clear();
    CHECK(wait_until([&] { return open() < 10; }, 20s));
  }

  SUBCASE("keys: missing, wrong, of another scope, revoked") {
    using boost::json::value_to;
    auto read =
        value_to<std::string>(services.ask({"api-keys", "create", "reader", "--scopes", "read"}).at("key"));
    auto write =
        value_to<std::string>(services.ask({"api-keys", "create", "writer", "--scopes", "write"}).at("key"));
    auto address = "/v1/users/u/recommendations";
    CHECK(wait_until([&] { return http.ask("GET", address).status == 401; }, 10s));
    auto with = [&](const std::string& key) { http.headers = {{"Authorization", "Bearer " + key}}; };
    for (auto bad : {std::string{"nonsense"}, read + "0", read.substr(0, 40), std::string(10'000, 'k')}) {
      with(bad);
      CHECK(http.bad("GET", address) == 401);
    }
    with(read);
    CHECK(http.ask("GET", address).status == 200);
    CHECK(http.bad("POST", "/v1/events", "[]") == 403);
    with(write);
    CHECK(http.ask("POST", "/v1/events", "[]").status == 200);
    CHECK(http.bad("GET", address) == 403);
    CHECK(http.bad("POST", "/v1/rollouts/x/abort") == 403);
    services.ask({"api-keys", "revoke", "reader"});
    with(read);
    CHECK(wait_until([&] { return http.ask("GET", address).status == 401; }, 10s));
    CHECK(services.troupe({"recommend", "u"}).err.find("asks for an API key") != std::string::npos);
    for (auto& key : {read, write}) {
      CHECK(read_file(services.log()).find(key) == std::string::npos);
      CHECK(read_file(services.data() / "api-keys.toml").find(key.substr(13)) == std::string::npos);
    }
    http.headers = {};
  }

  CHECK(services.pid_of("gateway") == pid);
  CHECK(http.ask("GET", "/health/live").status == 200);
  CHECK(services.down());
}
