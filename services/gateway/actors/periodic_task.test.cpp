#include "services/gateway/actors/periodic_task.hpp"

#include "common/actor/actor_fixture.hpp"

#include <doctest/doctest.h>

#include <deque>

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

namespace {

struct tasked : troupe::testing::actor_fixture {
  std::deque<std::function<void()>> posted;
  bool full = false;
  int done = 0;
  periodic_task_actor task = own(spawn_periodic_task(
      system,
      [this](std::function<void()> work) -> expected<void> {
        if (full)
          return fail(ec::overloaded, "the pool is full");
        posted.push_back(std::move(work));
        return {};
      },
      10s, [this] { ++done; }));

  tasked() { run(); }
  void work() {
    REQUIRE(!posted.empty());
    posted.front()();
    posted.pop_front();
    run();
  }
};

} // namespace

TEST_CASE("a periodic task is done after each pause") {
  tasked fixture;
  fixture.advance(9s);
  CHECK(fixture.posted.empty());
  for (int i = 1; i <= 3; ++i) {
    fixture.advance(10s);
    fixture.work();
    CHECK(fixture.done == i);
  }
}

TEST_CASE("a periodic task that a full pool refuses comes again with its next turn") {
  tasked fixture;
  fixture.full = true;
  fixture.advance(10s);
  fixture.full = false;
  CHECK(fixture.posted.empty());

  fixture.advance(10s);

  fixture.work();
  CHECK(fixture.done == 1);
}

TEST_CASE("a periodic task that takes longer than its pause is not begun twice") {
  tasked fixture;
  fixture.advance(10s);
  fixture.advance(60s);
  CHECK(fixture.posted.size() == 1);

  fixture.work();
  fixture.advance(10s);

  CHECK(fixture.posted.size() == 1);
}

TEST_CASE("a periodic task that was stopped half-way ends with what it does") {
  tasked fixture;
  fixture.advance(10s);
  caf::anon_send_exit(fixture.task, caf::exit_reason::user_shutdown);
  fixture.run();

  fixture.work();
  fixture.advance(60s);

  CHECK(fixture.done == 1);
  CHECK(fixture.posted.empty());
}
