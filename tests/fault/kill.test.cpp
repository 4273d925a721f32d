#include "tests/support/world.hpp"

#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <mutex>
#include <random>
#include <thread>

using namespace troupe::testing;

namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  auto* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

const auto events = static_cast<std::int64_t>(from_environment("TROUPE_FAULT_EVENTS", 100'000));
const auto kills = from_environment("TROUPE_FAULT_KILLS", 5);
const auto seed = from_environment("TROUPE_FAULT_SEED", std::random_device{}());
const bool guarded = (end_after(std::chrono::seconds{from_environment("TROUPE_FAULT_LIMIT_S", 560)}), true);

/// What was printed also stands in build/<preset>/Testing.
void say(const std::string& line) {
  std::cout << line << std::endl;
  std::ofstream{log_dir() / "fault-kill.result", std::ios::app} << line << '\n';
}

struct end_state {
  std::int64_t events = 0;
  std::int64_t users = 0;
  std::int64_t items = 0;
  std::string features;
};

/// Log counts, and the hash of the feature state once every record of the log is applied.
end_state look(const fleet& services) {
  auto log = services.ask({"log", "verify"}, 300s);
  end_state out{number(log, "events"), number(log, "users"), number(log, "items"), {}};
  json hash;
  auto applied = wait_until(
      [&] {
        hash = services.ask({"features", "state-hash"}, 300s);
        return number(hash, "records") == out.events + out.users + out.items;
      },
      240s);
  CHECK_MESSAGE(applied, "the feature store has not applied the whole log: ", boost::json::serialize(hash));
  out.features = boost::json::serialize(hash);
  return out;
}

/// Kills one service `kills` times at random moments; counts those that fell into the import (`running`).
class killer {
public:
  killer(const fleet& target, std::string service, std::uint64_t stream, const std::atomic<bool>& running)
      : service_{std::move(service)}, thread_{[&target, stream, &running, this] {
          run(target, stream, running);
        }} {}
  ~killer() { finish(); }

  void finish() {
    if (thread_.joinable())
      thread_.join();
  }
  const std::string& service() const { return service_; }
  std::uint64_t done() const { return done_; }
  std::uint64_t during() const { return during_; }

private:
  void run(const fleet& target, std::uint64_t stream, const std::atomic<bool>& running) {
    std::mt19937_64 source{seed * 31 + stream};
    pid_t last = 0;
    while (done_ < kills) {
      pid_t pid = 0;
      auto alive = wait_until(
          [&] {
            pid = target.pid_of(service_).value_or(0);
            return pid != 0 && pid != last;
          },
          60s);
      if (!alive)
        return;
      wait_until([] { return false; }, std::chrono::milliseconds{20 + source() % 700});
      during_ += running ? 1 : 0;
      ::kill(pid, SIGKILL);
      last = pid;
      ++done_;
    }
  }

  std::string service_;
  std::atomic<std::uint64_t> done_ = 0;
  std::atomic<std::uint64_t> during_ = 0;
  std::thread thread_;
};

} // namespace

TEST_CASE("after kill -9 of every service at random moments the log and the features are those of an "
          "undisturbed run") {
  say("events " + std::to_string(events) + ", kills of each service " + std::to_string(kills) + ", seed " +
      std::to_string(seed) + " (TROUPE_FAULT_SEED)");
  temp_dir world;
  end_state wanted;
  {
    fleet services{"fault-undisturbed"};
    configure(services, "interactions");
    generate(services, world.path(), events, {"--late", "0.02", "--seed", "5"});
    services.up();
    auto start = std::chrono::steady_clock::now();
    ingest(services, world.path(), {}, 400s);
    wanted = look(services);
    say("undisturbed: " +
        std::to_string(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()) +
        " s, features " + wanted.features.substr(0, 120));
    CHECK(services.down());
  }
  CHECK(wanted.events == events);

  fleet services{"fault-killed"};
  configure(services, "interactions");
  services.up({"--longest-delay", "500ms"});
  std::atomic<bool> running = true;
  std::uint64_t starts = 0;
  {
    killer ingest_killer{services, "ingest", 1, running};
    killer validator_killer{services, "validator", 2, running};
    killer feature_killer{services, "feature-store", 3, running};
    // The client may lose its service for longer than it waits: it is started again, and the import goes on.
    auto end = std::chrono::steady_clock::now() + 480s;
    bool imported = false;
    while (!imported && std::chrono::steady_clock::now() < end) {
      ++starts;
      auto result = services.troupe({"ingest", world.path().string()}, 400s);
      imported = result.code == 0;
      if (!imported)
        say("import interrupted: " + result.err.substr(0, 200));
    }
    CHECK(imported);
    running = false;
    say("import done after " + std::to_string(starts) + " starts of the client");
    for (auto* each : {&ingest_killer, &validator_killer, &feature_killer}) {
      each->finish();
      say(each->service() + " killed " + std::to_string(each->done()) + " times, " +
          std::to_string(each->during()) + " of them during the import");
      CHECK(each->done() == kills);
      CHECK(each->during() > 0);
    }
  }
  REQUIRE(services.ready());

  auto got = look(services);
  CHECK(got.events == events);
  CHECK(got.users == wanted.users);
  CHECK(got.items == wanted.items);
  CHECK(got.features == wanted.features);
  services.ask({"lake", "seal"}, 300s);
  services.ask({"lake", "verify"}, 300s);
  say(std::string{"features after the kills: "} + (got.features == wanted.features ? "equal" : "DIFFERENT") +
      ", events in the log " + std::to_string(got.events));
  CHECK(services.down());
}
