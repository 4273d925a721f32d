#include "common/core/resource_limits.hpp"
#include "common/net/testing/peers.hpp"
#include "common/security/keys.hpp"

#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <semaphore>
#include <thread>

extern char** environ;

using namespace troupe;
using namespace troupe::net;
using namespace troupe::net::testing;
using wire::Kind;

TEST_CASE("a service that is not there is unavailable soon, not at the deadline") {
  troupe::testing::temp_dir dir;
  auto options = towards({ipc(dir, "nobody")});
  options.connect_wait = 100ms;
  auto asker = *client::open(options);
  auto begin = std::chrono::steady_clock::now();

  auto answer = asker->call(Kind::validate, {}, deadline::in(30s));

  CHECK(answer.error().code == ec::unavailable);
  CHECK(answer.error().text.find("nobody") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < 10s);
}

TEST_CASE("a socket is for the user of its service, and another one is told whose it is") {
  troupe::testing::temp_dir dir;
  auto mask = ::umask(0);
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, echo()}});
  ::umask(mask);
  auto socket = ipc(dir).substr(6);
  struct stat about {};
  REQUIRE(::stat(socket.c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  auto options = towards({ipc(dir)});
  options.connect_wait = 100ms;
  bool root = ::geteuid() == 0;
  std::filesystem::permissions(dir.path(), std::filesystem::perms{0755});
  if (!root)
    REQUIRE(::chmod(socket.c_str(), 0) == 0);
  else
    REQUIRE(::seteuid(65534) == 0); // Root may do everything.
  auto asker = *client::open(options);

  auto answer = asker->call(Kind::validate, {}, deadline::in(30s));

  if (root)
    REQUIRE(::seteuid(0) == 0);
  CHECK(answer.error().code == ec::unauthorized);
  CHECK(answer.error().text.find("permission denied: " + socket + " belongs to the user ") !=
        std::string::npos);
  CHECK(answer.error().text.find("nobody listens") == std::string::npos);
}

TEST_CASE("an endpoint stops listening while descriptors are short, serves those it has, and listens again") {
  troupe::testing::temp_dir dir;
  std::atomic<int> fails{0};
  std::counting_semaphore<> works{0};
  auto options = at(ipc(dir));
  options.accept_fails = [&](const std::string& why) {
    if (why.empty())
      works.release();
    else
      ++fails;
  };
  auto server = *endpoint::open(std::move(options), {{Kind::validate, echo()}});
  auto asker = *client::open(towards({ipc(dir)}));
  auto serves = [&] {
    auto answer = asker->call(Kind::validate, chunk::copy(as_bytes("x")), deadline::in(10s));
    return answer && answer->payload.text() == "x";
  };
  REQUIRE(serves());
  auto path = ipc(dir).substr(6);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strncpy(to.sun_path, path.c_str(), sizeof to.sun_path - 1);
  std::vector<int> strangers;
  for (int i = 0; i < 100; ++i) // Before there are fewer: connecting takes one of the server's alone.
    strangers.push_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit few{descriptors_in_use() + 64, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);

  int connected = 0;
  for (int fd : strangers) {
    connected += ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 ? 1 : 0;
    std::this_thread::sleep_for(2ms); // slow on purpose: it takes them one by one, before its queue holds all
  }

  CHECK(fails >= 1);
  CHECK(connected < 64);
  CHECK(serves());
  for (int fd : strangers)
    ::close(fd);
  CHECK(works.try_acquire_for(10s));
  auto late = *client::open(towards({ipc(dir)}));
  CHECK(late->call(Kind::validate, {}, deadline::in(10s)));
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
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

  auto answer = asker->call(Kind::validate, {}, deadline::in(30s));

  CHECK(answer.error().code == ec::unavailable);
  CHECK(std::chrono::steady_clock::now() - begin >= 1s);
  ::close(bare);
}

TEST_CASE("a service that starts while a call waits is found") {
  troupe::testing::temp_dir dir;
  auto options = towards({ipc(dir)});
  options.connect_wait = 20s;
  auto asker = *client::open(options);
  pending_answer one;

  asker->call_async(Kind::validate, chunk::copy(as_bytes("x")), deadline::in(20s), one.then());
  auto server = *endpoint::open(at(ipc(dir)), {{Kind::validate, echo()}});

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
  auto server = *endpoint::open(options, {{Kind::validate, echo()}});
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

  CHECK(known->call(Kind::validate, chunk::copy(as_bytes("secret")), deadline::in(20s))->payload.text() ==
        "secret");
  CHECK(stranger->call(Kind::validate, {}, deadline::in(20s)).error().code == ec::unauthorized);
  CHECK(wrong_server->call(Kind::validate, {}, deadline::in(5s)).error().code == ec::unavailable);
  CHECK(plain->call(Kind::validate, {}, deadline::in(5s)).error().code == ec::unavailable);
  CHECK(server->counters().refused_key >= 1);
  CHECK(server->counters().requests == 1);
}

// The other process of the test below; runs only when that starts it.
TEST_CASE("echo server process" * doctest::skip()) {
  auto* address = std::getenv("TROUPE_TEST_ADDRESS");
  if (address == nullptr)
    return;
  parking parked;
  auto server = *endpoint::open(at(address), {{Kind::validate, echo()}, {Kind::fetch, parked.take()}});
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
  troupe::testing::temp_dir dir;
  auto address = ipc(dir);
  auto options = towards({address});
  options.connect_wait = 30s;
  auto asker = *client::open(options);
  echo_process first{address};
  REQUIRE(asker->call(Kind::validate, {}, deadline::in(30s)));
  pending_answer under_way;
  asker->call_async(Kind::fetch, {}, deadline::in(300s), under_way.then());
  REQUIRE(asker->call(Kind::validate, {}, deadline::in(30s)));

  first.kill();

  auto failed = under_way.wait();
  REQUIRE(!failed);
  CHECK(failed.error().code == ec::unavailable);
  CHECK(failed.error().text.find("connection") != std::string::npos);
  echo_process second{address};
  CHECK(asker->call(Kind::validate, chunk::copy(as_bytes("again")), deadline::in(60s))->payload.text() ==
        "again");
  CHECK(asker->counters().connections_lost == 1);
}
