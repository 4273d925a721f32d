#include "common/actor/actor_fixture.hpp"
#include "common/actor/credit.hpp"
#include "common/actor/drain.hpp"
#include "common/actor/fan_in.hpp"
#include "common/actor/inflight.hpp"
#include "common/actor/weak_handle.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <doctest/doctest.h>

using namespace troupe;
using namespace std::chrono_literals;

namespace {

using work_atom = caf::atom_constant<caf::atom("work")>;
using done_atom = caf::atom_constant<caf::atom("done")>;
using tick_atom = caf::atom_constant<caf::atom("tick")>;

/// Works on two things at a time, each until it is told that it is done: the shape of every actor here.
using worker_actor =
    caf::typed_actor<caf::replies_to<work_atom, std::int64_t>::with<std::string>,
                     caf::reacts_to<done_atom, std::uint64_t, std::string>, caf::reacts_to<tick_atom>>;

struct worker_state {
  inflight<caf::typed_response_promise<std::string>> open{2};
};

worker_actor::behavior_type worker(worker_actor::stateful_pointer<worker_state> self) {
  self->set_exit_handler([self](caf::exit_msg& msg) {
    self->state.open.stop({ec::stopping, "the worker was stopped"});
    self->quit(std::move(msg.reason));
  });
  return {[self](work_atom, std::int64_t until_ns) -> caf::result<std::string> {
            auto now = self->clock().now();
            deadline until{deadline::clock::time_point{std::chrono::nanoseconds{until_ns}}};
            auto id = self->state.open.admit(until, now);
            if (!id)
              return to_caf(id.error());
            self->delayed_send(self, until.left(now), tick_atom::value);
            return self->state.open.keep(*id, self->make_response_promise<std::string>());
          },
          [self](done_atom, std::uint64_t id, const std::string& text) {
            self->state.open.close(id, text, self->clock().now());
          },
          [self](tick_atom) { self->state.open.expire(self->clock().now()); }};
}

struct with_worker : testing::actor_fixture {
  worker_actor actor = own(system.spawn(worker));

  std::int64_t until(std::chrono::nanoseconds span) { return in(span).at().time_since_epoch().count(); }
  answer<std::string> work(std::chrono::nanoseconds span) {
    return ask_later<std::string>(actor, work_atom::value, until(span));
  }
  void finish(std::uint64_t id) { caf::anon_send(actor, done_atom::value, id, std::string{"result"}); }
};

} // namespace

TEST_CASE_FIXTURE(with_worker, "a kept promise is answered when the work is done, once") {
  auto answer = work(1s);
  run();
  REQUIRE(!*answer);

  finish(1);
  finish(1);
  run();

  REQUIRE(*answer);
  CHECK(**answer == std::string{"result"});
}

TEST_CASE_FIXTURE(with_worker, "a request beyond the bound is refused at once") {
  auto one = work(1s), two = work(1s), three = work(1s);
  run();

  CHECK(!*one);
  CHECK(!*two);
  REQUIRE(*three);
  CHECK((*three)->error() == error{ec::overloaded, "2 requests are under way"});
  finish(1);
  run();
  auto four = work(1s);
  run();
  CHECK(!*four);
}

TEST_CASE_FIXTURE(with_worker,
                  "a request whose deadline has passed is refused, one whose deadline passes is failed") {
  auto late = work(-1s), waits = work(1s);
  run();

  REQUIRE(*late);
  CHECK((*late)->error().code == ec::too_late);
  CHECK(!*waits);
  advance(999ms);
  CHECK(!*waits);
  advance(1ms);
  REQUIRE(*waits);
  CHECK((*waits)->error().code == ec::too_late);
}

TEST_CASE_FIXTURE(with_worker, "stopped half-way every promise is answered") {
  auto one = work(1s), two = work(1s);
  run();

  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  run();

  for (auto& each : {one, two}) {
    REQUIRE(*each);
    CHECK((*each)->error() == error{ec::stopping, "the worker was stopped"});
  }
}

TEST_CASE_FIXTURE(with_worker, "asking an actor that has ended gives stopping") {
  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  run();

  CHECK(ask<std::string>(actor, work_atom::value, until(1s)).error().code == ec::stopping);
}

TEST_CASE_FIXTURE(with_worker, "a weak handle does not keep its actor alive") {
  weak_handle<worker_actor> weak{actor};
  CHECK(weak.lock() == actor);

  auto other = std::make_unique<worker_actor>(system.spawn(worker));
  weak_handle<worker_actor> gone{*other};
  other.reset();
  run();

  CHECK(!gone.lock());
}

TEST_CASE("an error of ours survives the way through an actor's error") {
  error err{ec::disk_full, "cannot append"};

  CHECK(from_caf(to_caf(err)) == err);
  CHECK(from_caf(caf::sec::request_timeout).code == ec::too_late);
  CHECK(from_caf(caf::sec::unexpected_message).code == ec::internal);
}

TEST_CASE("fan-in tells once: all parts in their places, or the first error") {
  int told = 0;
  expected<std::vector<int>> result;
  auto tell = [&](expected<std::vector<int>> got) {
    ++told;
    result = std::move(got);
  };
  {
    fan_in<int> parts{3, tell};
    parts.take(2, 30);
    parts.take(0, 10);
    parts.take(0, 11);
    CHECK(told == 0);
    parts.take(1, 20);
    parts.fail({ec::internal, "late"});
  }
  CHECK(told == 1);
  CHECK(*result == std::vector{10, 20, 30});

  {
    fan_in<int> parts{2, tell};
    parts.fail({ec::unavailable, "gone"});
    parts.take(0, 1);
  }
  CHECK(told == 2);
  CHECK(result.error().code == ec::unavailable);

  { fan_in<int> parts{2, tell}; }
  CHECK(result.error().code == ec::canceled);
  { fan_in<int> none{0, tell}; }
  CHECK(result->empty());
  CHECK(told == 4);
}

TEST_CASE("credit is spent, granted back, and passes what is larger than the limit alone") {
  credit rows{100};

  CHECK(rows.take(60));
  CHECK(!rows.take(60));
  CHECK(rows.under_way() == 60);
  rows.grant(60);
  CHECK(rows.take(500));
  CHECK(!rows.take(1));
  rows.grant(500);
  CHECK(rows.left() == 100);
}

TEST_CASE("a drain waits for those who have work left, under one budget") {
  std::size_t requests = 2;
  drain stop;
  auto now = deadline::clock::now();
  stop.watch("requests", [&] { return requests; });

  CHECK(stop.look(now) == drain::step::idle);
  stop.begin(deadline{now + 1s});
  stop.begin(deadline{now + 9s});
  CHECK(stop.look(now) == drain::step::waiting);
  CHECK(stop.who_is_left() == "2 requests");
  CHECK(stop.look(now + 1s) == drain::step::expired);
  requests = 0;
  CHECK(stop.look(now) == drain::step::done);
  CHECK(stop.who_is_left() == "nobody");
}
