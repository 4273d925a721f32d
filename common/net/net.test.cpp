#include "common/core/bytes.hpp"
#include "common/net/testing/peers.hpp"

#include <doctest/doctest.h>
#include <zmq.hpp>

#include <atomic>
#include <mutex>
#include <random>

using namespace troupe;
using namespace troupe::net;
using namespace troupe::net::testing;
using wire::Kind;

TEST_CASE("a request is answered over inproc, ipc and tcp, small and large") {
  troupe::testing::temp_dir dir;
  for (auto& address : {std::string{"inproc://echo-all"}, ipc(dir), std::string{"tcp://127.0.0.1:0"}}) {
    auto server = endpoint::open(at(address), {{Kind::validate, echo()}});
    REQUIRE(server);
    auto asker = client::open(towards({(*server)->address()}));
    REQUIRE(asker);

    for (std::size_t size : {0, 1, 100, 5'000, 3'000'000}) {
      std::string text(size, 'x');
      auto answer = (*asker)->call(Kind::validate, chunk::own(text), deadline::in(20s));
      REQUIRE_MESSAGE(answer, render(answer.error()));
      CHECK(answer->payload.text() == text);
      CHECK(reinterpret_cast<std::uintptr_t>(answer->payload.data()) % 8 == 0);
      CHECK(answer->info.caller == "echo/0");
    }
  }
}

TEST_CASE("a handler sees who asks, the trace and the time left") {
  troupe::testing::temp_dir dir;
  parking parked;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, parked.take()}});
  auto asker = *client::open(towards({server->address()}));
  pending_answer answer;

  asker->call_async(Kind::validate, chunk::copy(as_bytes("?")), deadline::in(5s), answer.then(),
                    {1, 2, 3, 1});
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
  troupe::testing::temp_dir dir;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, [](request req) {
                                                  std::thread{[req = std::move(req)]() mutable {
                                                    req.respond.reply(chunk::copy(as_bytes("first")));
                                                    req.respond.reply(chunk::copy(as_bytes("second")));
                                                    CHECK(!req.respond);
                                                  }}.detach();
                                                }}});
  auto asker = *client::open(towards({server->address()}));

  CHECK(asker->call(Kind::validate, {}, deadline::in(10s))->payload.text() == "first");
  CHECK(asker->counters().dropped_late == 0);
}

TEST_CASE(
    "what comes while a thread sends is seen at once, by many callers and however the answer is given") {
  // A descriptor that is looked at too seldom leaves a message lying until the next one, here for ever.
  constexpr int callers = 4, calls = 2'000;
  troupe::testing::temp_dir dir;
  std::mutex mutex;
  std::vector<request> later; // Every other request is answered by the one after it, from that one's handler.
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate,
                                                [](request req) {
                                                  auto same = std::move(req.payload);
                                                  req.respond.reply(std::move(same));
                                                }},
                                               {Kind::fetch, [&](request req) {
                                                  std::lock_guard lock{mutex};
                                                  for (auto& each : later)
                                                    each.respond.reply(each.payload);
                                                  later.clear();
                                                  later.push_back(std::move(req));
                                                }}});
  auto asker = *client::open(towards({server->address()}));
  std::atomic<int> wrong = 0, answered = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < callers; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < calls; ++i) {
        auto text = std::to_string(t) + "/" + std::to_string(i);
        if (i % 2 == 0)
          asker->call_async(Kind::fetch, chunk::own(text), deadline::in(20s), [&, text](expected<reply> got) {
            wrong += !got || got->payload.text() != text;
            ++answered;
          });
        auto got = asker->call(Kind::validate, chunk::own(text), deadline::in(20s));
        wrong += !got || got->payload.text() != text;
      }
    });
  for (auto& each : threads)
    each.join();
  CHECK(soon([&] { return answered == callers * calls / 2 - 1; })); // The last one nobody answers.
  {
    std::lock_guard lock{mutex};
    REQUIRE(later.size() == 1);
    later.front().respond.reply(later.front().payload);
  }

  CHECK(soon([&] { return answered == callers * calls / 2; }));
  CHECK(wrong == 0);
}

TEST_CASE("a request that its handler gives up or throws on is answered internal") {
  troupe::testing::temp_dir dir;
  auto server =
      *endpoint::open(at(ipc(dir)), {{Kind::validate, [](request) {}},
                                     {Kind::fetch, [](request) { throw std::runtime_error{"no"}; }}});
  auto asker = *client::open(towards({server->address()}));

  CHECK(asker->call(Kind::validate, {}, deadline::in(10s)).error().code == ec::internal);
  CHECK(asker->call(Kind::fetch, {}, deadline::in(10s)).error().code == ec::internal);
  CHECK(soon([&] { return server->counters().in_flight == 0; }));
}

TEST_CASE("an error of the service arrives with its code and text") {
  troupe::testing::temp_dir dir;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, [](request req) {
                                                  req.respond.fail({ec::not_found, "no schema 'x'"});
                                                }}});
  auto asker = *client::open(towards({server->address()}));

  auto answer = asker->call(Kind::validate, {}, deadline::in(10s));

  CHECK(answer.error() == error{ec::not_found, "no schema 'x'"});
  CHECK(asker->call(Kind::views, {}, deadline::in(10s)).error().text == "echo/0 does not serve views");
}

TEST_CASE("a full endpoint refuses with overloaded and a time to come back") {
  troupe::testing::temp_dir dir;
  parking parked;
  auto options = at(ipc(dir));
  options.max_in_flight = 2;
  auto server = *endpoint::open(options, {{Kind::validate, parked.take()}});
  auto asker = *client::open(towards({server->address()}));
  pending_answer one, two;

  asker->call_async(Kind::validate, {}, deadline::in(10s), one.then());
  asker->call_async(Kind::validate, {}, deadline::in(10s), two.then());
  auto first = parked.next(), second = parked.next();
  auto refused = asker->call(Kind::validate, {}, deadline::in(10s));

  CHECK(refused.error().code == ec::overloaded);
  CHECK(server->counters().refused_overloaded == 1);
  first.respond.reply({});
  second.respond.reply({});
  CHECK(one.wait());
  CHECK(two.wait());
  CHECK(soon([&] { return server->counters().in_flight == 0; }));
}

TEST_CASE("a client refuses calls beyond its own bound at the door") {
  troupe::testing::temp_dir dir;
  parking parked;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, parked.take()}});
  auto options = towards({server->address()});
  options.max_in_flight = 1;
  auto asker = *client::open(options);
  pending_answer one;

  asker->call_async(Kind::validate, {}, deadline::in(10s), one.then());
  auto req = parked.next();
  auto refused = asker->call(Kind::validate, {}, deadline::in(10s));

  CHECK(refused.error().code == ec::overloaded);
  CHECK(asker->counters().refused_overloaded == 1);
  req.respond.reply({});
  CHECK(one.wait());
}

TEST_CASE("a call ends at its deadline and an answer after it is thrown away") {
  troupe::testing::temp_dir dir;
  parking parked;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, parked.take()}});
  auto asker = *client::open(towards({server->address()}));

  auto late = asker->call(Kind::validate, {}, deadline::in(50ms));
  CHECK(late.error().code == ec::too_late);
  parked.next().respond.reply(chunk::copy(as_bytes("late")));

  CHECK(soon([&] { return asker->counters().dropped_late == 1; }));
  CHECK(asker->call(Kind::validate, {}, deadline::in(-1s)).error().code == ec::too_late);
}

TEST_CASE("a request whose time has run out is answered too_late without being done") {
  troupe::testing::temp_dir dir;
  std::atomic<int> done{0};
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, [&](request) { ++done; }}});
  zmq::context_t context;
  zmq::socket_t raw{context, zmq::socket_type::dealer};
  raw.set(zmq::sockopt::linger, 0);
  raw.set(zmq::sockopt::rcvtimeo, 10'000);
  raw.connect(server->address());
  envelope head;
  head.kind = Kind::validate;
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
  troupe::testing::temp_dir dir;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, echo()}});
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
  CHECK(asker->call(Kind::validate, {}, deadline::in(10s)));
}

TEST_CASE("a draining endpoint answers what it has and refuses what is new") {
  troupe::testing::temp_dir dir;
  parking parked;
  std::atomic<int> told{0};
  auto options = at(ipc(dir));
  options.on_drain = [&] { ++told; };
  auto server = *endpoint::open(options, {{Kind::validate, parked.take()}});
  auto asker = *client::open(towards({server->address()}));
  pending_answer one;
  asker->call_async(Kind::validate, {}, deadline::in(10s), one.then());
  auto req = parked.next();

  CHECK(!server->drain(deadline::in(10ms)));
  CHECK(asker->call(Kind::validate, {}, deadline::in(10s)).error().code == ec::stopping);
  req.respond.reply(chunk::copy(as_bytes("done")));

  CHECK(server->drain(deadline::in(10s)));
  CHECK(one.wait()->payload.text() == "done");
  CHECK(told == 1);
}

TEST_CASE("stopped half-way, an endpoint fails what is under way and responders do nothing") {
  troupe::testing::temp_dir dir;
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
  troupe::testing::temp_dir dir;
  parking parked;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, parked.take()}});
  auto asker = *client::open(towards({server->address()}));
  pending_answer one;
  asker->call_async(Kind::validate, {}, deadline::in(20s), one.then());
  auto req = parked.next();

  asker.reset();

  CHECK(one.wait().error().code == ec::stopping);
}

TEST_CASE("requests of one caller reach the handlers in the order sent") {
  troupe::testing::temp_dir dir;
  std::vector<std::string> seen;
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, [&](request req) {
                                                  seen.emplace_back(req.payload.text());
                                                  req.respond.reply({});
                                                }}});
  auto asker = *client::open(towards({server->address()}));
  std::atomic<int> answered{0};

  for (int i = 0; i < 500; ++i)
    asker->call_async(Kind::validate, chunk::own(std::to_string(i)), deadline::in(20s),
                      [&](expected<reply> r) { answered += r.has_value(); });
  REQUIRE(soon([&] { return answered == 500; }));
  server->stop();

  for (std::size_t i = 0; i < seen.size(); ++i)
    CHECK(seen[i] == std::to_string(i));
}

TEST_CASE("an idempotent call is sent again to another replica, any other is not") {
  troupe::testing::temp_dir dir;
  std::atomic<int> asked{0};
  auto busy = [&](request req) {
    ++asked;
    req.respond.fail({ec::overloaded, "busy"});
  };
  auto good = *endpoint::open(at(ipc(dir, "good")), {{Kind::validate, echo()}, {Kind::lake_seal, echo()}});
  auto bad = *endpoint::open(at(ipc(dir, "bad")), {{Kind::validate, busy}, {Kind::lake_seal, busy}});
  auto asker = *client::open(towards({good->address(), bad->address()}));
  REQUIRE(soon([&] {
    auto states = asker->replica_states();
    return states[0].connected && states[1].connected;
  }));

  int failed = 0;
  for (int i = 0; i < 10; ++i)
    CHECK(asker->call(Kind::validate, {}, deadline::in(10s)));
  CHECK(asked > 0);
  CHECK(asker->counters().retries == static_cast<std::uint64_t>(asked));
  for (int i = 0; i < 10; ++i)
    failed += !asker->call(Kind::lake_seal, {}, deadline::in(10s));
  CHECK(failed > 0);
  CHECK(asker->call_to(1, Kind::validate, {}, deadline::in(10s)).error().code == ec::overloaded);
  CHECK(asker->call_to(0, Kind::validate, {}, deadline::in(10s))->replica == 0);
  CHECK(asker->call_to(2, Kind::validate, {}, deadline::in(10s)).error().code == ec::invalid_argument);
}

TEST_CASE("retries end when the budget is spent") {
  troupe::testing::temp_dir dir;
  auto busy = [](request req) { req.respond.fail({ec::overloaded, "busy"}); };
  auto one = *endpoint::open(at(ipc(dir, "1")), {{Kind::validate, busy}});
  auto two = *endpoint::open(at(ipc(dir, "2")), {{Kind::validate, busy}});
  auto options = towards({one->address(), two->address()});
  options.retry_floor = 3;
  options.retry_budget = 0;
  auto asker = *client::open(options);
  REQUIRE(soon([&] {
    auto states = asker->replica_states();
    return states[0].connected && states[1].connected;
  }));

  for (int i = 0; i < 50; ++i)
    CHECK(asker->call(Kind::validate, {}, deadline::in(10s)).error().code == ec::overloaded);

  auto seen = asker->counters();
  CHECK(seen.retries >= 3);
  CHECK(seen.retries <= 10);
  CHECK(seen.retries + seen.retries_denied == 50);
}

TEST_CASE("the breaker of a replica that does not answer opens and closes again after a probe") {
  troupe::testing::temp_dir dir;
  std::atomic<bool> dead{true};
  parking parked;
  auto park = parked.take();
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, [&](request req) {
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
    CHECK(asker->call(Kind::validate, {}, deadline::in(20ms)).error().code == ec::too_late);
  auto refused = asker->call(Kind::validate, {}, deadline::in(10s));
  CHECK(refused.error().code == ec::unavailable);
  CHECK(refused.error().text.find("circuit breaker is open") != std::string::npos);
  dead = false;

  CHECK(soon([&] { return asker->call(Kind::validate, {}, deadline::in(10s)).has_value(); }));
  CHECK(asker->call(Kind::validate, {}, deadline::in(10s)));
}
