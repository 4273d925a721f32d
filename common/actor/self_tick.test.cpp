#include "common/actor/self_tick.hpp"

#include "common/actor/actor_fixture.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <doctest/doctest.h>

using namespace troupe;
using namespace std::chrono_literals;

namespace {

using stop_atom = caf::atom_constant<caf::atom("stop")>;
using start_atom = caf::atom_constant<caf::atom("start")>;
using ticking_actor = caf::typed_actor<caf::reacts_to<tick_atom, std::uint64_t>, caf::reacts_to<stop_atom>,
                                       caf::reacts_to<start_atom>>;

struct ticking_state {
  using self_pointer = ticking_actor::stateful_pointer<ticking_state>;
  explicit ticking_state(self_pointer self) : tick{self, 10s} {}

  ticking_actor::behavior_type make_behavior(int* runs, bool once) {
    tick.start();
    return {tick.handler([this, runs, once] {
              ++*runs;
              if (once)
                tick.stop();
            }),
            [this](stop_atom) { tick.stop(); }, [this](start_atom) { tick.start(); }};
  }

  self_tick<std::remove_pointer_t<self_pointer>> tick;
};

ticking_actor spawn_ticking(caf::actor_system& system, int* runs, bool once = false) {
  return system.spawn([=](ticking_actor::stateful_pointer<ticking_state> self) {
    return self->state.make_behavior(runs, once);
  });
}

} // namespace

TEST_CASE("a tick runs once a pause, for as long as it is started") {
  int runs = 0;
  testing::actor_fixture fixture;
  auto ticking = fixture.own(spawn_ticking(fixture.system, &runs));
  fixture.run();
  CHECK(runs == 0);

  fixture.advance(9s);
  CHECK(runs == 0);
  fixture.advance(1s);
  CHECK(runs == 1);
  fixture.advance(10s);
  CHECK(runs == 2);

  caf::anon_send(ticking, stop_atom::value);
  fixture.run();
  fixture.advance(10s);
  fixture.advance(10s);
  CHECK(runs == 2);
}

TEST_CASE("a tick that is stopped and started again counts the pause from then, once") {
  int runs = 0;
  testing::actor_fixture fixture;
  auto ticking = fixture.own(spawn_ticking(fixture.system, &runs));
  fixture.run();

  fixture.advance(6s);
  caf::anon_send(ticking, start_atom::value); // It is started: nothing.
  caf::anon_send(ticking, stop_atom::value);
  caf::anon_send(ticking, start_atom::value);
  caf::anon_send(ticking, start_atom::value);
  fixture.run();
  fixture.advance(4s); // The first message comes and counts no more.
  CHECK(runs == 0);
  fixture.advance(6s);
  CHECK(runs == 1);
  fixture.advance(10s);
  CHECK(runs == 2);
}

TEST_CASE("work may stop its own tick") {
  int runs = 0;
  testing::actor_fixture fixture;
  auto ticking = fixture.own(spawn_ticking(fixture.system, &runs, true));
  fixture.run();

  for (int i = 0; i < 3; ++i)
    fixture.advance(10s);
  CHECK(runs == 1);

  caf::anon_send(ticking, start_atom::value);
  fixture.run();
  fixture.advance(10s);
  CHECK(runs == 2);
}
