#include "common/actor/blocking_pool.hpp"

#include <doctest/doctest.h>
#include <pthread.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <future>
#include <optional>
#include <string>

using namespace troupe;

TEST_CASE("a pool for work that has time stands behind other threads, and only its own threads do") {
  metrics::registry registry;
  std::promise<int> seen;
  blocking_pool pool{{"patient", 1, 8, 7}, registry};

  REQUIRE(pool.post([&] { seen.set_value(::getpriority(PRIO_PROCESS, 0)); }));

  CHECK(seen.get_future().get() == ::getpriority(PRIO_PROCESS, 0) + 7);
}

TEST_CASE("a full pool refuses, counts what it refused, and runs what it took") {
  metrics::registry registry;
  auto waiting = registry.gauge("troupe_pool_queued_tasks", "", {{"pool", "narrow"}});
  auto refused = registry.counter("troupe_pool_refused_total", "", {{"pool", "narrow"}});
  std::promise<void> begun, go_on;
  std::atomic<int> ran = 0;
  std::optional<blocking_pool> pool;
  pool.emplace(blocking_pool::options{"narrow", 1, 2}, registry);

  REQUIRE(pool->post([&] {
    begun.set_value();
    go_on.get_future().wait();
  }));
  begun.get_future().wait();
  CHECK(pool->post([&] { ++ran; }));
  CHECK(pool->post([&] { ++ran; }));
  CHECK(waiting.value() == 2);
  auto third = pool->post([&] { ++ran; });

  REQUIRE_FALSE(third);
  CHECK(third.error().code == ec::overloaded);
  CHECK(third.error().text == "2 tasks wait for the pool narrow");
  CHECK(refused.value() == 1);

  go_on.set_value();
  pool.reset(); // runs what is queued
  CHECK(ran == 2);
  CHECK(waiting.value() == 0);
}

TEST_CASE("a task may post another, also while the pool ends") {
  metrics::registry registry;
  std::atomic<bool> second = false;
  {
    blocking_pool pool{{"chained", 2, 4}, registry};
    REQUIRE(pool.post([&] { CHECK(pool.post([&] { second = true; })); }));
  }
  CHECK(second);
}

TEST_CASE("as many tasks run at once as the pool has threads, and the threads carry its name") {
  metrics::registry registry;
  std::promise<void> left, right;
  std::promise<std::string> name;
  {
    blocking_pool pool{{"a-rather-long-name", 2, 4}, registry};
    REQUIRE(pool.post([&] { // Each waits for the other.
      left.set_value();
      right.get_future().wait();
      std::array<char, 32> text{};
      ::pthread_getname_np(::pthread_self(), text.data(), text.size());
      name.set_value(text.data());
    }));
    REQUIRE(pool.post([&] {
      right.set_value();
      left.get_future().wait();
    }));
  }
  CHECK(name.get_future().get() == "a-rather-long-n");
}
