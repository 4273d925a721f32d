#include "services/deployer/rollout_machine.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace troupe;
using namespace troupe::deployer;

namespace {

constexpr std::int64_t second = 1'000'000;

rollout made(const std::string& toml, std::string from = "old", std::uint32_t replicas = 1) {
  rollout out;
  out.id = "r";
  out.spec_text = "release = 'new'\n" + toml;
  out.spec = *rollout_spec::parse(out.spec_text);
  out.release = "new";
  out.from = std::move(from);
  out.replicas = replicas;
  out.weights = weights_of(out.spec, replicas, out.from.empty());
  return out;
}

rollout after(const rollout& from, const rollout_event& what, std::int64_t now) {
  auto got = step(from, what, now);
  REQUIRE(got);
  return got->next;
}

rollout running(const std::string& toml, std::int64_t now = 0) {
  return after(after(made(toml), event::begin{}, now), event::prepared{}, now);
}

event::analyzed verdict(Verdict3 is) {
  return {is, "because"};
}

const event::command do_abort{RolloutAction::abort, "enough"}, do_promote{RolloutAction::promote, ""},
    do_pause{RolloutAction::pause, ""}, do_resume{RolloutAction::resume, ""};

double share_of_release(const routing& in, const std::string& release) {
  double sum = 0;
  for (auto& each : in.arms)
    sum += each.release == release ? each.weight : 0;
  return sum;
}

} // namespace

TEST_CASE("a canary goes step by step, each with a verdict and its pause, until it is in production") {
  auto at = running("steps = [10, 50, 100]\npause = '5s'");
  CHECK(at.state == RolloutState::running);
  CHECK(table_of(at).arms == std::vector<arm>{{"canary", "new", 0.1}, {"production", "old", 0.9}});
  CHECK(table_of(at).keep == std::vector<std::string>{"new", "old"});

  CHECK(after(at, verdict(Verdict3::pass), 4 * second).step == 0); // Its pause is not over.
  at = after(at, verdict(Verdict3::pass), 5 * second);
  CHECK(at.step == 1);
  CHECK(after(at, verdict(Verdict3::not_enough_data), 60 * second).step == 1);
  at = after(at, verdict(Verdict3::pass), 10 * second);
  CHECK(table_of(at).arms == std::vector<arm>{{"canary", "new", 1}});
  at = after(at, verdict(Verdict3::pass), 15 * second);
  CHECK(at.state == RolloutState::promoting);
  CHECK(table_of(at).arms == std::vector<arm>{{"production", "new", 1}});
  at = after(at, event::aliases_set{}, 16 * second);
  CHECK(at.state == RolloutState::done);
  CHECK(at.ended == 16 * second);
  CHECK(table_of(at).rollout.empty());
  CHECK(table_of(at).keep == std::vector<std::string>{"new", "old"});
}

TEST_CASE("silence promotes nothing: without a verdict a rollout stays, and gives up in the end") {
  auto at = running("give_up = '1h'");

  for (std::int64_t minute = 1; minute < 60; ++minute) {
    at = after(at, verdict(Verdict3::not_enough_data), minute * 60 * second);
    at = after(at, event::tick{}, minute * 60 * second);
  }
  CHECK(at.state == RolloutState::running);
  CHECK(at.step == 0);
  auto end = step(at, event::tick{}, 3'600 * second);
  CHECK(end->next.state == RolloutState::rolled_back);
  CHECK(end->publishes);
}

TEST_CASE("a verdict of fail rolls back, while paused too") {
  for (bool paused : {false, true}) {
    auto at = running("");
    if (paused)
      at = after(at, do_pause, 1);

    auto got = step(at, verdict(Verdict3::fail), 2);

    CHECK(got->next.state == RolloutState::rolled_back);
    CHECK(got->action == "roll back");
    CHECK(got->publishes);
    CHECK(table_of(got->next).arms == std::vector<arm>{{"production", "old", 1}});
  }
}

TEST_CASE("a paused rollout does not go forward until it is resumed") {
  auto at = after(running("pause = '0s'"), do_pause, 1);
  CHECK(at.state == RolloutState::paused);
  CHECK(after(at, verdict(Verdict3::pass), 1'000 * second).step == 0);
  CHECK(table_of(at) == table_of(running("pause = '0s'")));
  at = after(after(at, do_resume, 2), verdict(Verdict3::pass), 3);
  CHECK(at.step == 1);
}

TEST_CASE("abort works in every state, and asking twice is asking once") {
  auto canary = running("steps = [50, 100]\npause = '0s'");
  auto promoting = after(canary, do_promote, 1);
  auto done = after(promoting, event::aliases_set{}, 2);
  std::vector<rollout> all{
      made(""), after(made(""), event::begin{}, 0), canary, after(canary, do_pause, 1), promoting, done};
  all.push_back(after(done, do_abort, 3));                   // aborting
  all.push_back(after(all.back(), event::aliases_set{}, 4)); // rolled_back
  all.push_back(after(all[1], event::broken{"no"}, 1));      // failed
  std::set<RolloutState> seen;

  for (auto& from : all) {
    seen.insert(from.state);
    auto got = step(from, do_abort, 9);
    REQUIRE_MESSAGE(got, to_string(from.state));
    auto back = got->next.state;
    CHECK_MESSAGE((back == RolloutState::rolled_back || back == RolloutState::aborting ||
                   (back == RolloutState::failed && from.state == back)),
                  to_string(from.state));
    CHECK(share_of_release(table_of(got->next), "old") == doctest::Approx(1));
    CHECK(share_of_release(table_of(got->next), "new") == doctest::Approx(0));
    auto again = step(got->next, do_abort, 10);
    CHECK(again->action.empty());
  }
  CHECK(seen.size() == 9);
}

TEST_CASE("what ended without a change, and a first release, have nothing to be taken back") {
  auto shadow = running("strategy = 'shadow'");
  shadow = after(shadow, verdict(Verdict3::pass), 100 * second);
  CHECK(shadow.state == RolloutState::done);
  CHECK(step(shadow, do_abort, 1).error().code == ec::conflict);
  auto first = after(after(made("", ""), event::begin{}, 0), event::prepared{}, 0);
  CHECK(first.state == RolloutState::promoting);
  CHECK(table_of(first).arms == std::vector<arm>{{"production", "new", 1}});
  first = after(first, event::aliases_set{}, 1);
  CHECK(step(first, do_abort, 2).error().code == ec::conflict);
}

TEST_CASE("a release that no ranker can hold fails the rollout and changes no arm") {
  auto at = after(made("prepare_timeout = '1m'"), event::begin{}, 0);

  auto broken = step(at, event::broken{"ranker 0 cannot hold it"}, 1);
  auto late = step(at, event::tick{}, 60 * second);

  for (auto& got : {broken, late}) {
    CHECK(got->next.state == RolloutState::failed);
    CHECK(!got->publishes);
  }
  CHECK(broken->next.reason == "ranker 0 cannot hold it");
  CHECK(step(at, do_promote, 1).error().code == ec::conflict);
}

TEST_CASE(
    "while a release is prepared the rankers hold production and it, rolling one ranker after the other") {
  routing now;
  now.arms = {{"production", "old", 1}};
  now.keep = {"old", "older"};
  auto all = after(made(""), event::begin{}, 0);
  CHECK(wanted_of(all, now, 0) == std::vector<std::string>{"old", "new"});

  auto rolling = after(made("strategy = 'rolling'", "old", 3), event::begin{}, 0);
  CHECK(wanted_of(rolling, now, 0) == std::vector<std::string>{"old", "new"});
  CHECK(wanted_of(rolling, now, 1) == std::vector<std::string>{"old"});
  rolling = after(after(rolling, event::prepared{}, 1), event::prepared{}, 2);
  CHECK(rolling.state == RolloutState::preparing);
  CHECK(wanted_of(rolling, now, 2) == std::vector<std::string>{"old", "new"});
  rolling = after(rolling, event::prepared{}, 3);
  CHECK(rolling.state == RolloutState::running);
  CHECK(rolling.weights.size() == 3);
  CHECK(table_of(rolling).arms[0].weight == doctest::Approx(1.0 / 3));
}

TEST_CASE("users of the canary and of the baseline keep their arm while both grow") {
  auto at = running("baseline = true\nsteps = [5, 40, 80]\npause = '0s'");
  double canary_end = 0, baseline_begin = 1;

  for (int i = 0; i < 3; ++i) {
    auto arms = table_of(at).arms;
    double sum = 0;
    for (auto& each : arms)
      sum += each.weight;
    CHECK(sum == doctest::Approx(1));
    CHECK(arms.front().name == "canary");
    CHECK(arms.front().weight > canary_end);
    canary_end = arms.front().weight;
    CHECK(arms.back().name == "baseline");
    if (i < 2) {
      CHECK(arms.back().weight == doctest::Approx(canary_end));
      CHECK(1 - arms.back().weight < baseline_begin);
      baseline_begin = 1 - arms.back().weight;
    }
    at = after(at, verdict(Verdict3::pass), 1);
  }
}

TEST_CASE("a shadow is shown to nobody, an A/B test shows both, blue-green moves everybody at once") {
  auto shadow = table_of(running("strategy = 'shadow'"));
  CHECK(shadow.arms == std::vector<arm>{{"production", "old", 1}});
  CHECK(shadow.shadow == "new");
  auto ab = table_of(running("strategy = 'ab'\nsalt = 'spring'"));
  CHECK(ab.arms == std::vector<arm>{{"b", "new", 0.5}, {"a", "old", 0.5}});
  CHECK(ab.salt == "spring");
  auto blue_green = running("strategy = 'blue-green'\npause = '1m'");
  CHECK(table_of(blue_green).arms == std::vector<arm>{{"new", "new", 1}});
  CHECK(table_of(blue_green).keep.size() == 2);
  CHECK(after(blue_green, verdict(Verdict3::pass), 59 * second).state == RolloutState::running);
  CHECK(after(blue_green, verdict(Verdict3::pass), 60 * second).state == RolloutState::promoting);
}

TEST_CASE("a rollout is the same after it was written down and read, in every state") {
  auto at = running("steps = [10, 50, 100]\npause = '5s'");
  at.reason = "why";
  for (auto state : wire::EnumValuesRolloutState()) {
    at.state = state;
    auto back = from_wire(to_wire(at));
    REQUIRE(back);
    CHECK(back->state == at.state);
    CHECK(back->step == at.step);
    CHECK(back->weights == at.weights);
    CHECK(back->entered == at.entered);
    CHECK(back->reason == at.reason);
    CHECK(table_of(*back) == table_of(at));
  }
  auto damaged = to_wire(running(""));
  damaged.step = 9;
  CHECK(from_wire(damaged).error().code == ec::corrupt);
}
