#include "common/actor/actor_fixture.hpp"
#include "common/actor/errors.hpp"
#include "common/actor/weak_handle.hpp"

#include <caf/sec.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <doctest/doctest.h>

using namespace troupe;

namespace {

using work_atom = caf::atom_constant<caf::atom("work")>;
using worker_actor = caf::typed_actor<caf::replies_to<work_atom>::with<std::string>>;

worker_actor::behavior_type worker(worker_actor::pointer) {
  return {[](work_atom) { return std::string{"result"}; }};
}

} // namespace

TEST_CASE_FIXTURE(testing::actor_fixture, "asking an actor that has ended gives stopping") {
  auto actor = own(system.spawn(worker));
  CHECK(ask<std::string>(actor, work_atom::value) == std::string{"result"});

  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  run();

  CHECK(ask<std::string>(actor, work_atom::value).error().code == ec::stopping);
}

TEST_CASE_FIXTURE(testing::actor_fixture, "a weak handle does not keep its actor alive") {
  auto actor = own(system.spawn(worker));
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
