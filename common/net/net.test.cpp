#include "common/core/bytes.hpp"
#include "common/net/client.hpp"
#include "common/net/endpoint.hpp"
#include "common/security/keys.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.hpp>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <future>
#include <mutex>
#include <random>
#include <thread>

extern char** environ;

using namespace troupe;
using namespace troupe::net;
using namespace std::chrono_literals;
using wire::Kind;

namespace {

/// Keeps requests until the test answers them.
class parking {
public:
  handler take() {
    return [this](request req) {
      std::lock_guard lock{mutex_};
      parked_.push_back(std::move(req));
      arrived_.notify_all();
    };
  }
  request next() {
    std::unique_lock lock{mutex_};
    REQUIRE(arrived_.wait_for(lock, 10s, [this] { return !parked_.empty(); }));
    auto first = std::move(parked_.front());
    parked_.erase(parked_.begin());
    return first;
  }

private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<request> parked_;
};

handler echo() {
  return [](request req) { req.respond.reply(std::move(req.payload)); };
}

endpoint_options at(std::string address) {
  endpoint_options options;
  options.address = std::move(address);
  options.who = "echo/0";
  return options;
}

std::string ipc(const testing::temp_dir& dir, const std::string& name = "s") {
  return "ipc://" + (dir / name).string();
}

client_options towards(std::vector<std::string> addresses) {
  client_options options;
  options.service = "echo";
  options.addresses = std::move(addresses);
  options.caller = "test";
  return options;
}

struct pending_answer {
  client::done then() {
    return [told = promise](expected<reply> result) { told->set_value(std::move(result)); };
  }
  expected<reply> wait() {
    auto future = promise->get_future();
    REQUIRE(future.wait_for(20s) == std::future_status::ready);
    return future.get();
  }
  std::shared_ptr<std::promise<expected<reply>>> promise = std::make_shared<std::promise<expected<reply>>>();
};

template <class Condition>
bool soon(Condition met) {
  for (auto until = deadline::in(10s); !until.passed(); std::this_thread::yield())
    if (met())
      return true;
  return false;
}

} // namespace

TEST_CASE("a request is answered over inproc, ipc and tcp, small and large") {
  testing::temp_dir dir;
  for (auto& address : {std::string{"inproc://echo-all"}, ipc(dir), std::string{"tcp://127.0.0.1:0"}}) {
    auto server = endpoint::open(at(address), {{Kind::judge, echo()}});
    REQUIRE(server);
    auto asker = client::open(towards({(*server)->address()}));
    REQUIRE(asker);

    for (std::size_t size : {0, 1, 100, 5'000, 3'000'000}) {
      std::string text(size, 'x');
      auto answer = (*asker)->call(Kind::judge, chunk::own(text), deadline::in(20s));
      REQUIRE_MESSAGE(answer, render(answer.error()));
      CHECK(answer->payload.text() == text);
      CHECK(reinterpret_cast<std::uintptr_t>(answer->payload.data()) % 8 == 0);
      CHECK(answer->info.caller == "echo/0");
    }
  }
}

TEST_CASE("a handler sees who asks, the trace and the time left") {
  testing::temp_dir dir;
  parking parked;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, parked.take()}});
  auto asker = *client::open(towards({server->address()}));
  pending_answer answer;

  asker->call_async(Kind::judge, chunk::copy(as_bytes("?")), deadline::in(5s), answer.then(), {1, 2, 3, 1});
  auto req = parked.next();

  CHECK(req.info.caller == "test");
  CHECK(req.info.trace == trace_context{1, 2, 3, 1});
  CHECK(req.info.time_left <= 5s);
  CHECK(req.until.left() <= 5s);
  CHECK(req.until.left() > 1s);
  req.respond.reply({});
  CHECK(answer.wait()->info.trace == trace_context{1, 2, 3, 1});
}

TEST_CASE("an answer may come from any thread and a responder answers once") {
  testing::temp_dir dir;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, [](request req) {
                                                  std::thread{[req = std::move(req)]() mutable {
                                                    req.respond.reply(chunk::copy(as_bytes("first")));
                                                    req.respond.reply(chunk::copy(as_bytes("second")));
                                                    CHECK(!req.respond);
                                                  }}.detach();
                                                }}});
  auto asker = *client::open(towards({server->address()}));

  CHECK(asker->call(Kind::judge, {}, deadline::in(10s))->payload.text() == "first");
  CHECK(asker->counters().dropped_late == 0);
}

TEST_CASE("a request that its handler gives up or throws on is answered internal") {
  testing::temp_dir dir;
  auto server =
      *endpoint::open(at(ipc(dir)), {{Kind::judge, [](request) {}},
                                     {Kind::fetch, [](request) { throw std::runtime_error{"no"}; }}});
  auto asker = *client::open(towards({server->address()}));

  CHECK(asker->call(Kind::judge, {}, deadline::in(10s)).error().code == ec::internal);
  CHECK(asker->call(Kind::fetch, {}, deadline::in(10s)).error().code == ec::internal);
  CHECK(soon([&] { return server->counters().in_flight == 0; }));
}

TEST_CASE("an error of the service arrives with its code and text") {
  testing::temp_dir dir;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, [](request req) {
                                                  req.respond.fail({ec::not_found, "no schema 'x'"});
                                                }}});
  auto asker = *client::open(towards({server->address()}));

  auto answer = asker->call(Kind::judge, {}, deadline::in(10s));

  CHECK(answer.error() == error{ec::not_found, "no schema 'x'"});
  CHECK(asker->call(Kind::views, {}, deadline::in(10s)).error().text == "echo/0 does not serve views");
}

TEST_CASE("a full endpoint refuses with overloaded and a time to come back") {
  testing::temp_dir dir;
  parking parked;
  auto options = at(ipc(dir));
  options.max_in_flight = 2;
  auto server = *endpoint::open(options, {{Kind::judge, parked.take()}});
  auto asker = *client::open(towards({server->address()}));
  pending_answer one, two;

  asker->call_async(Kind::judge, {}, deadline::in(10s), one.then());
  asker->call_async(Kind::judge, {}, deadline::in(10s), two.then());
  auto first = parked.next(), second = parked.next();
  auto refused = asker->call(Kind::judge, {}, deadline::in(10s));

  CHECK(refused.error().code == ec::overloaded);
  CHECK(server->counters().refused_overloaded == 1);
  first.respond.reply({});
  second.respond.reply({});
  CHECK(one.wait());
  CHECK(two.wait());
  CHECK(soon([&] { return server->counters().in_flight == 0; }));
}

TEST_CASE("a client refuses calls beyond its own bound at the door") {
  testing::temp_dir dir;
  parking parked;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, parked.take()}});
  auto options = towards({server->address()});
  options.max_in_flight = 1;
  auto asker = *client::open(options);
  pending_answer one;

  asker->call_async(Kind::judge, {}, deadline::in(10s), one.then());
  auto req = parked.next();
  auto refused = asker->call(Kind::judge, {}, deadline::in(10s));

  CHECK(refused.error().code == ec::overloaded);
  CHECK(asker->counters().refused_overloaded == 1);
  req.respond.reply({});
  CHECK(one.wait());
}

TEST_CASE("a call ends at its deadline and an answer after it is thrown away") {
  testing::temp_dir dir;
  parking parked;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, parked.take()}});
  auto asker = *client::open(towards({server->address()}));

  auto late = asker->call(Kind::judge, {}, deadline::in(50ms));
  CHECK(late.error().code == ec::too_late);
  parked.next().respond.reply(chunk::copy(as_bytes("late")));

  CHECK(soon([&] { return asker->counters().dropped_late == 1; }));
  CHECK(asker->call(Kind::judge, {}, deadline::in(-1s)).error().code == ec::too_late);
}

TEST_CASE("a request whose time has run out is answered too_late without being done") {
  testing::temp_dir dir;
  std::atomic<int> done{0};
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, [&](request) { ++done; }}});
  zmq::context_t context;
  zmq::socket_t raw{context, zmq::socket_type::dealer};
  raw.set(zmq::sockopt::linger, 0);
  raw.set(zmq::sockopt::rcvtimeo, 10'000);
  raw.connect(server->address());
  envelope head;
  head.kind = Kind::judge;
  head.request_id = {1, 2};

  auto bytes = encode(head);
  raw.send(zmq::buffer(bytes.data(), bytes.size()), zmq::send_flags::sndmore);
  raw.send(zmq::str_buffer(""), zmq::send_flags::none);
  zmq::message_t answer;
  REQUIRE(raw.recv(answer));

  auto read = decode_envelope({answer.data<std::byte>(), answer.size()});
  REQUIRE(read);
  CHECK(read->failure->code == ec::too_late);
  CHECK(read->request_id == hash128{1, 2});
  CHECK(done == 0);
}

TEST_CASE("random bytes and envelopes of a later version are counted and refused") {
  testing::temp_dir dir;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, echo()}});
  zmq::context_t context;
  zmq::socket_t raw{context, zmq::socket_type::dealer};
  raw.set(zmq::sockopt::linger, 0);
  raw.set(zmq::sockopt::rcvtimeo, 10'000);
  raw.connect(server->address());
  std::mt19937_64 random{7};

  for (int i = 0; i < 500; ++i) {
    int frames = 1 + static_cast<int>(random() % 7);
    for (int k = 0; k < frames; ++k) {
      std::string bytes(random() % 300, '\0');
      for (auto& each : bytes)
        each = static_cast<char>(random());
      raw.send(zmq::buffer(bytes), k + 1 < frames ? zmq::send_flags::sndmore : zmq::send_flags::none);
    }
  }
  flatbuffers::FlatBufferBuilder out;
  wire::EnvelopeBuilder head{out};
  head.add_version(99);
  head.add_request_id_low(5);
  out.Finish(head.Finish(), wire::EnvelopeIdentifier());
  raw.send(zmq::buffer(out.GetBufferPointer(), out.GetSize()), zmq::send_flags::sndmore);
  raw.send(zmq::str_buffer("?"), zmq::send_flags::none);
  zmq::message_t answer;
  REQUIRE(raw.recv(answer));

  CHECK(decode_envelope({answer.data<std::byte>(), answer.size()})->failure->code == ec::unsupported_version);
  CHECK(server->counters().dropped_malformed == 500);
  CHECK(server->counters().refused_version == 1);
  auto asker = *client::open(towards({server->address()}));
  CHECK(asker->call(Kind::judge, {}, deadline::in(10s)));
}

TEST_CASE("a draining endpoint answers what it has and refuses what is new") {
  testing::temp_dir dir;
  parking parked;
  std::atomic<int> told{0};
  auto options = at(ipc(dir));
  options.on_drain = [&] { ++told; };
  auto server = *endpoint::open(options, {{Kind::judge, parked.take()}});
  auto asker = *client::open(towards({server->address()}));
  pending_answer one;
  asker->call_async(Kind::judge, {}, deadline::in(10s), one.then());
  auto req = parked.next();

  CHECK(!server->drain(deadline::in(10ms)));
  CHECK(asker->call(Kind::judge, {}, deadline::in(10s)).error().code == ec::stopping);
  req.respond.reply(chunk::copy(as_bytes("done")));

  CHECK(server->drain(deadline::in(10s)));
  CHECK(one.wait()->payload.text() == "done");
  CHECK(told == 1);
}

TEST_CASE("stopped half-way, an endpoint fails what is under way and responders do nothing") {
  testing::temp_dir dir;
  parking parked;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::lake_seal, parked.take()}});
  auto asker = *client::open(towards({server->address()}));
  pending_answer one;
  asker->call_async(Kind::lake_seal, {}, deadline::in(20s), one.then());
  auto req = parked.next();

  server.reset();
  req.respond.reply({});

  CHECK(one.wait().error().code == ec::unavailable);
}

TEST_CASE("a client that is closed fails what is under way with stopping") {
  testing::temp_dir dir;
  parking parked;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, parked.take()}});
  auto asker = *client::open(towards({server->address()}));
  pending_answer one;
  asker->call_async(Kind::judge, {}, deadline::in(20s), one.then());
  auto req = parked.next();

  asker.reset();

  CHECK(one.wait().error().code == ec::stopping);
}

TEST_CASE("requests of one caller reach the handlers in the order sent") {
  testing::temp_dir dir;
  std::vector<std::string> seen;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, [&](request req) {
                                                  seen.emplace_back(req.payload.text());
                                                  req.respond.reply({});
                                                }}});
  auto asker = *client::open(towards({server->address()}));
  std::atomic<int> answered{0};

  for (int i = 0; i < 500; ++i)
    asker->call_async(Kind::judge, chunk::own(std::to_string(i)), deadline::in(20s),
                      [&](expected<reply> r) { answered += r.has_value(); });
  REQUIRE(soon([&] { return answered == 500; }));
  server->stop();

  for (std::size_t i = 0; i < seen.size(); ++i)
    CHECK(seen[i] == std::to_string(i));
}

TEST_CASE("an idempotent call is sent again to another replica, any other is not") {
  testing::temp_dir dir;
  std::atomic<int> asked{0};
  auto busy = [&](request req) {
    ++asked;
    req.respond.fail({ec::overloaded, "busy"});
  };
  auto good = *endpoint::open(at(ipc(dir, "good")), {{Kind::judge, echo()}, {Kind::lake_seal, echo()}});
  auto bad = *endpoint::open(at(ipc(dir, "bad")), {{Kind::judge, busy}, {Kind::lake_seal, busy}});
  auto asker = *client::open(towards({good->address(), bad->address()}));
  REQUIRE(soon([&] {
    auto states = asker->replica_states();
    return states[0].connected && states[1].connected;
  }));

  int failed = 0;
  for (int i = 0; i < 10; ++i)
    CHECK(asker->call(Kind::judge, {}, deadline::in(10s)));
  CHECK(asked > 0);
  CHECK(asker->counters().retries == static_cast<std::uint64_t>(asked));
  for (int i = 0; i < 10; ++i)
    failed += !asker->call(Kind::lake_seal, {}, deadline::in(10s));
  CHECK(failed > 0);
  CHECK(asker->call_to(1, Kind::judge, {}, deadline::in(10s)).error().code == ec::overloaded);
  CHECK(asker->call_to(0, Kind::judge, {}, deadline::in(10s))->replica == 0);
  CHECK(asker->call_to(2, Kind::judge, {}, deadline::in(10s)).error().code == ec::invalid_argument);
}

TEST_CASE("retries end when the budget is spent") {
  testing::temp_dir dir;
  auto busy = [](request req) { req.respond.fail({ec::overloaded, "busy"}); };
  auto one = *endpoint::open(at(ipc(dir, "1")), {{Kind::judge, busy}});
  auto two = *endpoint::open(at(ipc(dir, "2")), {{Kind::judge, busy}});
  auto options = towards({one->address(), two->address()});
  options.retry_floor = 3;
  options.retry_budget = 0;
  auto asker = *client::open(options);
  REQUIRE(soon([&] {
    auto states = asker->replica_states();
    return states[0].connected && states[1].connected;
  }));

  for (int i = 0; i < 50; ++i)
    CHECK(asker->call(Kind::judge, {}, deadline::in(10s)).error().code == ec::overloaded);

  auto seen = asker->counters();
  CHECK(seen.retries >= 3);
  CHECK(seen.retries <= 10);
  CHECK(seen.retries + seen.retries_denied == 50);
}

TEST_CASE("the breaker of a replica that does not answer opens and closes again after a probe") {
  testing::temp_dir dir;
  std::atomic<bool> dead{true};
  parking parked;
  auto park = parked.take();
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, [&](request req) {
                                                  if (dead)
                                                    park(std::move(req));
                                                  else
                                                    req.respond.reply({});
                                                }}});
  auto options = towards({server->address()});
  options.breaker_failures = 3;
  options.breaker_open = 200ms;
  auto asker = *client::open(options);

  for (int i = 0; i < 3; ++i)
    CHECK(asker->call(Kind::judge, {}, deadline::in(20ms)).error().code == ec::too_late);
  auto refused = asker->call(Kind::judge, {}, deadline::in(10s));
  CHECK(refused.error().code == ec::unavailable);
  CHECK(refused.error().text.find("circuit breaker is open") != std::string::npos);
  dead = false;

  CHECK(soon([&] { return asker->call(Kind::judge, {}, deadline::in(10s)).has_value(); }));
  CHECK(asker->call(Kind::judge, {}, deadline::in(10s)));
}

TEST_CASE("a service that is not there is unavailable soon, not at the deadline") {
  testing::temp_dir dir;
  auto options = towards({ipc(dir, "nobody")});
  options.connect_wait = 100ms;
  auto asker = *client::open(options);
  auto begin = std::chrono::steady_clock::now();

  auto answer = asker->call(Kind::judge, {}, deadline::in(30s));

  CHECK(answer.error().code == ec::unavailable);
  CHECK(answer.error().text.find("nobody") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
}

TEST_CASE("a service that is there but busy is waited for longer than one that is not there") {
  auto bare = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); // Takes connections, and never greets.
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof where;
  REQUIRE(::bind(bare, reinterpret_cast<sockaddr*>(&where), size) == 0);
  REQUIRE(::listen(bare, 8) == 0);
  REQUIRE(::getsockname(bare, reinterpret_cast<sockaddr*>(&where), &size) == 0);
  auto options = towards({fmt::format("tcp://127.0.0.1:{}", ntohs(where.sin_port))});
  options.connect_wait = 10ms;
  options.handshake_wait = 1s;
  auto asker = *client::open(options);
  auto begin = std::chrono::steady_clock::now();

  auto answer = asker->call(Kind::judge, {}, deadline::in(30s));

  CHECK(answer.error().code == ec::unavailable);
  CHECK(std::chrono::steady_clock::now() - begin >= 1s);
  ::close(bare);
}

TEST_CASE("a service that starts while a call waits is found") {
  testing::temp_dir dir;
  auto options = towards({ipc(dir)});
  options.connect_wait = 20s;
  auto asker = *client::open(options);
  pending_answer one;

  asker->call_async(Kind::judge, chunk::copy(as_bytes("x")), deadline::in(20s), one.then());
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::judge, echo()}});

  CHECK(one.wait()->payload.text() == "x");
}

TEST_CASE("plain addresses stay on this machine") {
  CHECK(check_address("tcp://127.0.0.1:5", false));
  CHECK(check_address("tcp://[::1]:5", false));
  CHECK(check_address("tcp://10.0.0.1:5", true));
  CHECK(check_address("tcp://10.0.0.1:5", false).error().code == ec::unauthorized);
  CHECK(check_address("tcp://*:5", false).error().code == ec::unauthorized);
  CHECK(check_address("udp://x:5", false).error().code == ec::invalid_argument);
  CHECK(check_address("ipc://" + std::string(200, 'x'), false).error().code == ec::invalid_argument);
  CHECK(endpoint::open(at("tcp://0.0.0.0:0"), {}).error().code == ec::unauthorized);
  CHECK(client::open(towards({"tcp://10.0.0.1:1"})).error().code == ec::unauthorized);
}

TEST_CASE("CURVE lets in the keys on the list and refuses and counts the others") {
  auto server_keys = security::make_key_pair();
  auto friend_keys = security::make_key_pair();
  auto stranger_keys = security::make_key_pair();
  auto options = at("tcp://127.0.0.1:0");
  options.curve = curve_server{server_keys.secret_key, {friend_keys.public_key}};
  auto server = *endpoint::open(options, {{Kind::judge, echo()}});
  auto with = [&](const security::key_pair& keys, const std::string& server_key) {
    auto asking = towards({server->address()});
    asking.curve = curve_client{server_key, keys.public_key, keys.secret_key};
    asking.connect_wait = 2s;
    return *client::open(asking);
  };

  auto known = with(friend_keys, server_keys.public_key);
  auto stranger = with(stranger_keys, server_keys.public_key);
  auto wrong_server = with(friend_keys, stranger_keys.public_key);
  auto plain = *client::open(towards({server->address()}));

  CHECK(known->call(Kind::judge, chunk::copy(as_bytes("secret")), deadline::in(20s))->payload.text() ==
        "secret");
  CHECK(stranger->call(Kind::judge, {}, deadline::in(20s)).error().code == ec::unauthorized);
  CHECK(wrong_server->call(Kind::judge, {}, deadline::in(5s)).error().code == ec::unavailable);
  CHECK(plain->call(Kind::judge, {}, deadline::in(5s)).error().code == ec::unavailable);
  CHECK(server->counters().refused_key >= 1);
  CHECK(server->counters().requests == 1);
}

// The other process of the test below; runs only when that starts it.
TEST_CASE("echo server process" * doctest::skip()) {
  auto* address = std::getenv("TROUPE_TEST_ADDRESS");
  if (address == nullptr)
    return;
  parking parked;
  auto server = *endpoint::open(at(address), {{Kind::judge, echo()}, {Kind::fetch, parked.take()}});
  ::pause();
}

namespace {

class echo_process {
public:
  explicit echo_process(const std::string& address) {
    ::setenv("TROUPE_TEST_ADDRESS", address.c_str(), 1);
    std::string name = "/proc/self/exe", filter = "--test-case=echo server process", skipped = "--no-skip";
    char* args[] = {name.data(), filter.data(), skipped.data(), nullptr};
    REQUIRE(::posix_spawn(&pid_, name.c_str(), nullptr, nullptr, args, environ) == 0);
  }
  ~echo_process() { kill(); }
  echo_process(const echo_process&) = delete;
  echo_process& operator=(const echo_process&) = delete;

  void kill() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    pid_ = 0;
  }

private:
  pid_t pid_ = 0;
};

} // namespace

TEST_CASE(
    "a service killed with kill -9 fails what is under way at once and is found again after its restart") {
  testing::temp_dir dir;
  auto address = ipc(dir);
  auto options = towards({address});
  options.connect_wait = 30s;
  auto asker = *client::open(options);
  echo_process first{address};
  REQUIRE(asker->call(Kind::judge, {}, deadline::in(30s)));
  pending_answer under_way;
  asker->call_async(Kind::fetch, {}, deadline::in(300s), under_way.then());
  REQUIRE(asker->call(Kind::judge, {}, deadline::in(30s)));

  first.kill();

  auto failed = under_way.wait();
  REQUIRE(!failed);
  CHECK(failed.error().code == ec::unavailable);
  CHECK(failed.error().text.find("connection") != std::string::npos);
  echo_process second{address};
  CHECK(asker->call(Kind::judge, chunk::copy(as_bytes("again")), deadline::in(60s))->payload.text() ==
        "again");
  CHECK(asker->counters().connections_lost == 1);
}
