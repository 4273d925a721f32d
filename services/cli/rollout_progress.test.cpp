#include "services/cli/rollout_progress.hpp"

#include <doctest/doctest.h>

#include <memory>

using namespace troupe;
using namespace troupe::cli;

namespace {

void add_arm(wire::RolloutT& to, std::string name, std::uint64_t answers, std::uint64_t counted,
             std::uint64_t needed) {
  auto arm = std::make_unique<wire::ArmProgressT>();
  arm->arm = std::move(name);
  arm->answers = answers;
  arm->counted = counted;
  arm->needed = needed;
  to.arms.push_back(std::move(arm));
}

wire::RolloutT canary() {
  wire::RolloutT out;
  out.rollout_id = "spring";
  out.release = std::string(64, 'a');
  out.state = wire::RolloutState::running;
  out.step = 1;
  out.steps = 4;
  out.weight = 0.05;
  out.reason = "click_rate of canary: lift -3.0 %, from -20.0 % to +14.0 %";
  return out;
}

} // namespace

TEST_CASE("a rollout that waits for traffic says what each arm has and needs, and how to decide by hand") {
  auto of = canary();
  add_arm(of, "canary", 0, 0, 500);
  add_arm(of, "production", 0, 0, 500);
  CHECK(waiting_text(of) ==
        "step 1 of 4, 5 % of users: canary has 0 of 500 answers, production has 0 of 500 answers; "
        "no recommendation has been asked for since the step began");
  of.arms[0]->answers = of.arms[0]->counted = 12;
  of.arms[1]->answers = 600;
  of.arms[1]->counted = 590;
  CHECK(waiting_text(of) ==
        "step 1 of 4, 5 % of users: canary has 12 of 500 answers, production has 590 of 500 answers");

  CHECK(by_hand_text(of) ==
        "to decide by hand: troupe rollouts promote spring, troupe rollouts abort spring, troupe "
        "rollouts pause spring");
}

TEST_CASE("a rollout with answers enough says which metric is not decided") {
  auto of = canary();
  add_arm(of, "canary", 700, 650, 500);
  add_arm(of, "production", 9'000, 9'000, 0); // Nothing is asked of it: it is not named.

  CHECK(waiting_text(of) ==
        "step 1 of 4, 5 % of users: canary has 650 of 500 answers; not decided: click_rate of "
        "canary: lift -3.0 %, from -20.0 % to +14.0 %");
}

TEST_CASE("a rollout that does not run says what its state waits for") {
  auto of = canary();
  CHECK(waiting_text(of) == "step 1 of 4, 5 % of users: its counts have not begun");
  of.state = wire::RolloutState::paused;
  CHECK(waiting_text(of).find("paused") != std::string::npos);
  CHECK(by_hand_text(of).find("rollouts resume spring") != std::string::npos);
  of.state = wire::RolloutState::preparing;
  of.reason = "the rankers load the release";
  CHECK(waiting_text(of) ==
        "waits for the rankers to load release aaaaaaaaaaaa: the rankers load the release");
  of.state = wire::RolloutState::promoting;
  of.reason = "waits for the registry's aliases: it is away";
  CHECK(waiting_text(of) == of.reason);
}

TEST_CASE("a table leaves out what decides nothing") {
  wire::DecisionT latency;
  latency.metric = "p50_us";
  latency.reason = "has no bound";

  CHECK_FALSE(cli::is_telling(latency));
  latency.action = "promote";
  CHECK(cli::is_telling(latency));
  latency.action.clear();
  latency.bound = 500'000;
  CHECK(cli::is_telling(latency));
  latency.metric = "error_rate";
  latency.bound = 0;
  CHECK(cli::is_telling(latency));
}
