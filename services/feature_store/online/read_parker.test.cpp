#include "services/feature_store/online/read_parker.hpp"

#include "common/actor/actor_fixture.hpp"

#include <doctest/doctest.h>

#include <map>

using namespace troupe;
using namespace troupe::feature_store;
using namespace std::chrono_literals;

namespace {

/// A parker whose reads name one offset, the size of their payload.
struct parking : testing::actor_fixture {
  metrics::registry registry;
  std::shared_ptr<service_metrics> counts = std::make_shared<service_metrics>(registry);
  std::size_t applied = 0;
  std::vector<std::size_t> served; ///< Offsets of the reads that went on.
  std::map<std::size_t, ec> refused;
  read_parker_actor parker = own(spawn_read_parker(
      system, {[this](const net::request& asked) { return asked.payload.size() <= applied; },
               [this](const net::request_ptr& asked) {
                 served.push_back(asked->payload.size());
                 asked->respond.reply({});
               },
               counts, 3}));

  /// What still waits is answered before the members that an answer is written to are gone.
  ~parking() {
    caf::anon_send_exit(parker, caf::exit_reason::user_shutdown);
    run();
  }

  void park(std::size_t offset, deadline until) {
    auto asked = std::make_shared<net::request>();
    asked->payload = chunk::own(std::string(offset, 'x'));
    asked->until = until;
    asked->respond = net::responder::to([this, offset](expected<chunk> got) {
      if (!got)
        refused[offset] = got.error().code;
    });
    caf::anon_send(parker, park_atom::value, asked);
    run();
  }
  void advance_to(std::size_t offset) {
    applied = offset;
    caf::anon_send(parker, advance_atom::value);
    run();
  }
};

} // namespace

TEST_CASE("a read waits until the offsets that it names are applied, and not a batch longer") {
  parking f;

  f.park(0, f.in(10s));
  CHECK(f.served == std::vector<std::size_t>{0});
  f.park(5, f.in(10s));
  f.park(9, f.in(10s));
  f.advance_to(4);
  CHECK(f.served == std::vector<std::size_t>{0});
  f.advance_to(5);
  CHECK(f.served == std::vector<std::size_t>{0, 5});
  f.advance_to(20);
  CHECK(f.served == std::vector<std::size_t>{0, 5, 9});
  CHECK(f.refused.empty());
}

TEST_CASE("no more reads wait than may, and who need not wait is served all the same") {
  parking f;
  for (std::size_t offset : {5, 6, 7, 8})
    f.park(offset, f.in(10s));

  CHECK(f.refused == std::map<std::size_t, ec>{{8, ec::overloaded}});
  f.applied = 4;
  f.park(4, f.in(10s));
  CHECK(f.served == std::vector<std::size_t>{4});
}

TEST_CASE("a read whose deadline passes while it waits is answered then, the others wait on") {
  parking f;
  f.park(5, f.in(10s));
  f.park(6, f.in(2s));
  f.park(7, f.in(5s));

  f.advance(2s);
  CHECK(f.refused == std::map<std::size_t, ec>{{6, ec::too_late}});
  f.advance(3s);
  CHECK(f.refused.at(7) == ec::too_late);
  f.advance_to(7);
  CHECK(f.served == std::vector<std::size_t>{5});
  f.park(9, f.in(-1s));
  CHECK(f.refused.at(9) == ec::too_late);
}

TEST_CASE("however many reads wait, one timer is set for the earliest") {
  parking f;
  auto timers = [&] { return f.scheduler.clock().schedule().size(); };
  f.park(5, f.in(2s));
  f.park(6, f.in(9s));
  f.park(7, f.in(5s));
  CHECK(timers() == 1);

  f.advance(2s);
  CHECK(timers() == 1);
  f.park(8, f.in(1s)); // Sooner than the others: its timer is set beside that for them, which is ignored.
  CHECK(timers() == 2);
  f.advance(1s);
  f.advance(2s);
  CHECK(timers() == 1);
  f.advance(4s);
  CHECK(timers() == 0);
  for (std::size_t offset : {5, 6, 7, 8})
    CHECK(f.refused.at(offset) == ec::too_late);
}

TEST_CASE("a parker that drains answers what waits and lets nothing wait any more; so does one that ends") {
  parking f;
  f.park(5, f.in(10s));
  caf::anon_send(f.parker, drain_atom::value);
  f.run();

  CHECK(f.refused == std::map<std::size_t, ec>{{5, ec::stopping}});
  f.park(6, f.in(10s));
  CHECK(f.refused.at(6) == ec::stopping);
  f.park(0, f.in(10s));
  CHECK(f.served == std::vector<std::size_t>{0});

  parking ending;
  ending.park(5, ending.in(10s));
  caf::anon_send_exit(ending.parker, caf::exit_reason::user_shutdown);
  ending.run();
  CHECK(ending.refused == std::map<std::size_t, ec>{{5, ec::stopping}});
}
