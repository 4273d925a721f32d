#include "services/trainer/worker_group.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <fstream>
#include <new>

using namespace troupe;
using namespace troupe::trainer;
using namespace std::chrono_literals;

namespace {

struct setting {
  troupe::testing::temp_dir dir;
  group_options options;
  group_progress last;

  explicit setting(const std::string& config, std::uint32_t ranks = 2) {
    options.program = TROUPE_TEST_WORKER;
    options.config = dir.path() / "config.toml";
    options.data = dir.path() / "none";
    options.out = dir.path();
    options.ranks = ranks;
    options.hang_after = 1s;
    options.max_restarts = 2;
    std::ofstream{options.config} << config;
  }

  expected<boost::json::object> train() {
    return train_with_workers(options, [this](const group_progress& now) {
      last = now;
      return true;
    });
  }
};

/// Seen by this process and by those that it forks.
struct forking {
  std::atomic<bool> told{false}; ///< The next child tells itself to stop, before it is another program.
  std::atomic<int> handled{0};   ///< Signals that a handler of this program took.
};
forking* shared = nullptr;

} // namespace

TEST_CASE("ranks that end well give the last line of rank 0") {
  setting with{"steps = 3\n"};

  auto done = with.train();

  REQUIRE(done);
  CHECK(done->at("metrics").at("hr_at_10").to_number<double>() == 0.5);
  CHECK(with.last.restarts == 0);
}

TEST_CASE("a rank that crashes is noticed, and all ranks start again from the last checkpoint") {
  setting with{"steps = 3\ncrash_at = 2\nfailing_rank = 1\n"};

  auto done = with.train();

  REQUIRE(done);
  CHECK(with.last.restarts == 1);
  CHECK(with.last.step == 3);
}

TEST_CASE("a rank that talks but makes no step is killed after hang_after, and training goes on") {
  setting with{"steps = 3\nhang_at = 2\n"};
  auto begun = std::chrono::steady_clock::now();

  auto done = with.train();

  REQUIRE(done);
  CHECK(with.last.restarts == 1);
  CHECK(std::chrono::steady_clock::now() - begun >= 1s);
}

TEST_CASE("a rank that lost its peer is started again") {
  setting with{"steps = 3\nexit_at = 1\ncode = 3\n"};

  REQUIRE(with.train());
  CHECK(with.last.restarts == 1);
}

TEST_CASE("input that a rank refuses is not tried again, and the error says what it said") {
  setting with{"steps = 3\nexit_at = 1\ncode = 2\nalways = true\n"};

  auto done = with.train();

  REQUIRE(!done);
  CHECK(done.error().code == ec::invalid_argument);
  CHECK(done.error().text.find("told to end with 2") != std::string::npos);
  CHECK(with.last.restarts == 0);
}

TEST_CASE("restarts are bounded") {
  setting with{"steps = 3\ncrash_at = 1\nalways = true\n"};

  auto done = with.train();

  REQUIRE(!done);
  CHECK(done.error().code == ec::unavailable);
  CHECK(with.last.restarts == 2);
}

TEST_CASE("ranks that are told to stop end by themselves, and training is canceled") {
  setting with{"steps = 3\nwait = true\n"};

  auto done = train_with_workers(with.options, [](const group_progress& now) { return now.step < 5; });

  REQUIRE(!done);
  CHECK(done.error().code == ec::canceled);
}

TEST_CASE(
    "a rank that is told to stop before it is its own program ends, and runs no handler of the trainer") {
  auto* page = ::mmap(nullptr, sizeof(forking), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(page != MAP_FAILED);
  shared = new (page) forking; // for good: what runs at each fork stays
  REQUIRE(::pthread_atfork(nullptr, nullptr, [] {
            if (shared->told.exchange(false))
              ::raise(SIGTERM);
          }) == 0);
  struct sigaction ours {
  }, before{};
  ours.sa_handler = [](int) { ++shared->handled; };
  ::sigaction(SIGTERM, &ours, &before);
  setting with{"steps = 3\n", 1};
  shared->told = true;

  auto done = with.train();

  ::sigaction(SIGTERM, &before, nullptr);
  REQUIRE(done);
  CHECK(shared->handled.load() == 0);
  CHECK(with.last.restarts == 1);
}
