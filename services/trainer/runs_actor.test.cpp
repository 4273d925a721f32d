#include "services/trainer/actors.hpp"

#include "common/actor/actor_fixture.hpp"
#include "common/net/payload.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::trainer;
using namespace std::chrono_literals;

namespace {

/// The actor of all runs, none of which gets a turn.
struct runs_fixture : troupe::testing::actor_fixture {
  using answer_box = std::shared_ptr<std::optional<expected<chunk>>>;

  troupe::testing::temp_dir dir;
  std::shared_ptr<run_deps> deps = std::make_shared<run_deps>();
  runs_actor runs;

  runs_fixture() {
    trainer::config settings;
    settings.runs_at_once = 0;
    deps->folder = dir / "runs";
    deps->settings = std::make_shared<const trainer::config>(settings);
    deps->training_sets = std::make_shared<training_sets>(dir / "training-sets", nullptr);
    deps->journal = *run_journal::open(dir / "journal");
    runs = own(*spawn_runs(system, deps, std::make_shared<run_threads>()));
    run();
  }

  answer_box send_later(wire::Kind kind, const flatbuffers::FlatBufferBuilder& out,
                        deadline::clock::duration left) {
    auto got = std::make_shared<std::optional<expected<chunk>>>();
    auto asked = std::make_shared<net::request>();
    asked->info.kind = kind;
    asked->payload = net::bytes_of(out);
    asked->until = deadline::in(left);
    asked->respond = net::responder::to([got](expected<chunk> result) { got->emplace(std::move(result)); });
    caf::anon_send(runs, net::request_atom::value, std::move(asked));
    return got;
  }

  answer_box order(const char* id, deadline::clock::duration left = 60s) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateTrainStartDirect(out, id, "model = \"ease\"\n"), "TRPT");
    return send_later(wire::Kind::train_start, out, left);
  }

  answer_box status(const char* id) {
    flatbuffers::FlatBufferBuilder out;
    out.Finish(wire::CreateTrainQueryDirect(out, id), "TRPT");
    return send_later(wire::Kind::train_status, out, 60s);
  }
};

ec code_of(const runs_fixture::answer_box& from) {
  REQUIRE(*from);
  REQUIRE(!(*from)->has_value());
  return (*from)->error().code;
}

wire::TrainState state_in(const runs_fixture::answer_box& from) {
  REQUIRE(*from);
  REQUIRE_MESSAGE((*from)->has_value(), (*from)->error().text);
  return flatbuffers::GetRoot<wire::TrainStatus>((*from)->value().data())->state();
}

} // namespace

TEST_CASE_FIXTURE(runs_fixture, "an order whose deadline has passed is not taken") {
  auto late = order("late", -1s);
  run();

  CHECK(code_of(late) == ec::too_late);
  auto unknown = status("late");
  run();
  CHECK(code_of(unknown) == ec::not_found);
}

TEST_CASE_FIXTURE(
    runs_fixture,
    "a trainer that is stopped answers what was passed on to a run, and what came behind the stop") {
  auto taken = order("taken");
  run();
  CHECK(state_in(taken) == wire::TrainState::waiting);

  auto passed_on = status("taken");
  REQUIRE(step());
  caf::anon_send_exit(runs, caf::exit_reason::user_shutdown);
  auto behind = order("behind");
  run();

  CHECK(state_in(passed_on) == wire::TrainState::waiting);
  CHECK(code_of(behind) == ec::stopping);
  auto entry = deps->journal->find("taken");
  REQUIRE((entry && *entry));
  CHECK(!(*entry)->status.ended()); // The next life goes on with it.
  CHECK(!*deps->journal->find("behind"));
}
