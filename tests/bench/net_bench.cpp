// A round trip of a 1 KB request and a 4 KB reply over ipc: our network layer beside raw ZeroMQ, with 1, 16
// and 256 requests under way. The server is another process, as in the fleet.
#include "tests/bench/report.hpp"

#include "common/net/client.hpp"
#include "common/net/endpoint.hpp"
#include "common/testing/temp_dir.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.hpp>

#include <condition_variable>
#include <csignal>
#include <cstring>
#include <functional>
#include <mutex>

namespace {

using namespace troupe;
using namespace std::chrono_literals;
using bench::clock;

constexpr std::size_t request_size = 1024;
constexpr std::size_t reply_size = 4096;

struct run {
  double rate = 0;
  bench::samples trips;
};

/// The other process: runs `serve` until it is killed.
class server_process {
public:
  template <class Serve>
  explicit server_process(Serve serve) : pid_{::fork()} {
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      serve();
      ::_exit(0);
    }
  }
  ~server_process() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;

private:
  pid_t pid_;
};

void serve_raw(const std::string& address) {
  zmq::context_t context;
  zmq::socket_t server{context, zmq::socket_type::router};
  server.bind(address);
  std::string answer(reply_size, 'y');
  for (;;) {
    zmq::message_t route, head, body;
    if (!server.recv(route) || !server.recv(head) || !server.recv(body))
      return;
    server.send(route, zmq::send_flags::sndmore);
    server.send(head, zmq::send_flags::sndmore);
    server.send(zmq::buffer(answer), zmq::send_flags::none);
  }
}

void serve_ours(const std::string& address) {
  auto answer = chunk::own(std::string(reply_size, 'y'));
  net::endpoint_options serving;
  serving.address = address;
  serving.identity = "bench/0";
  auto server = *net::endpoint::open(
      serving, {{wire::Kind::validate, [&](net::request req) { req.respond.reply(answer); }}});
  ::pause();
}

run raw(const std::string& address, int in_flight, int count) {
  server_process server{[&] { serve_raw(address); }};
  zmq::context_t context;
  zmq::socket_t asker{context, zmq::socket_type::dealer};
  asker.set(zmq::sockopt::linger, 0);
  asker.connect(address);
  std::string body(request_size, 'x');
  run result;
  auto ask = [&] {
    auto now = clock::now();
    asker.send(zmq::buffer(&now, sizeof now), zmq::send_flags::sndmore);
    asker.send(zmq::buffer(body), zmq::send_flags::none);
  };
  ask(); // Connects.
  for (int frames = 0; frames < 2; ++frames) {
    zmq::message_t part;
    if (!asker.recv(part))
      return {};
  }
  auto begin = clock::now();
  for (int i = 0; i < in_flight; ++i)
    ask();
  for (int sent = in_flight, done = 0; done < count; ++done) {
    zmq::message_t head, answer;
    if (!asker.recv(head) || !asker.recv(answer))
      break;
    clock::time_point at;
    std::memcpy(&at, head.data(), sizeof at);
    result.trips.add(clock::now() - at);
    if (sent < count) {
      ask();
      ++sent;
    }
  }
  result.rate = count / std::chrono::duration<double>(clock::now() - begin).count();
  return result;
}

run ours(const std::string& address, int in_flight, int count) {
  server_process server{[&] { serve_ours(address); }};
  net::client_options asking;
  asking.service = "bench";
  asking.addresses = {address};
  asking.caller = "bench";
  asking.connect_wait = 10s;
  auto asker = *net::client::open(asking);
  auto body = chunk::own(std::string(request_size, 'x'));
  if (!asker->call(wire::Kind::validate, body, deadline::in(10s)))
    return {};

  run result;
  std::mutex mutex;
  std::condition_variable ended;
  int done = 0, sent = 0, failed = 0;
  std::function<void()> ask = [&] {
    auto begin = clock::now();
    asker->call_async(wire::Kind::validate, body, deadline::in(30s), [&, begin](expected<net::reply> got) {
      // All callbacks run on the one socket thread: only `done` is shared.
      result.trips.add(clock::now() - begin);
      failed += got ? 0 : 1;
      bool more = sent < count;
      if (more) {
        ++sent;
        ask();
      }
      std::lock_guard lock{mutex};
      if (++done == count)
        ended.notify_one();
    });
  };
  auto begin = clock::now();
  if (in_flight == 1) {
    for (int i = 0; i < count; ++i)
      result.trips.time([&] { failed += !asker->call(wire::Kind::validate, body, deadline::in(30s)); });
  } else {
    sent = in_flight;
    for (int i = 0; i < in_flight; ++i)
      ask();
    std::unique_lock lock{mutex};
    ended.wait(lock, [&] { return done == count; });
  }
  result.rate = count / std::chrono::duration<double>(clock::now() - begin).count();
  if (failed > 0)
    std::fprintf(stderr, "net_bench: %d calls failed\n", failed);
  return result;
}

} // namespace

int main(int argc, char** argv) {
  troupe::testing::temp_dir dir;
  bool quick = bench::quick(argc, argv);
  for (int in_flight : {1, 16, 256}) {
    int count = (in_flight == 1 ? 20'000 : 200'000) / (quick ? 20 : 1);
    auto limit = raw("ipc://" + (dir / "raw").string(), in_flight, count);
    auto mine = ours("ipc://" + (dir / "ours").string(), in_flight, count);
    bench::report({.name = "round trip 1 KB/4 KB ipc, " + std::to_string(in_flight) + " in flight",
                   .unit = "trips/s",
                   .value = mine.rate,
                   .limit_name = "raw ZeroMQ",
                   .limit = limit.rate,
                   .p50_us = mine.trips.p50_us(),
                   .p99_us = mine.trips.p99_us()});
    std::printf("# raw ZeroMQ, %d in flight: p50 %.0f us, p99 %.0f us\n", in_flight, limit.trips.p50_us(),
                limit.trips.p99_us());
  }
  return 0;
}
