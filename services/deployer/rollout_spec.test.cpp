#include "services/deployer/rollout_spec.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::deployer;
using namespace std::chrono_literals;

TEST_CASE("a specification has defaults that fit its strategy") {
  auto canary = *rollout_spec::parse("release = 'r'");
  CHECK(canary.strategy == strategy::canary);
  CHECK(canary.steps == std::vector<double>{0.05, 0.25, 0.5, 1});
  CHECK(canary.pause == 30s);
  CHECK(canary.verdict.p99 == 500ms);
  CHECK(canary.verdict.error_rate == 0.01);
  CHECK(canary.verdict.click_rate);
  CHECK(rollout_spec::parse("release = 'r'\nstrategy = 'ab'")->steps == std::vector<double>{0.5});
  CHECK(!rollout_spec::parse("strategy = 'blue-green'\nrelease = 'r'")->verdict.click_rate);
}

TEST_CASE("a specification says what it was given") {
  auto read = *rollout_spec::parse(
      "strategy = 'canary'\nrelease = 'r'\nsteps = [1, 2.5]\npause = '2m'\nbaseline = true\n"
      "salt = 's'\ngive_up = '1d'\nprepare_timeout = '1m'\n[verdict]\nmin_sample = 7\nalpha = 0.2\n"
      "error_rate = 0.5\ndegraded = 0.3\np50 = '1ms'\np95 = '2ms'\np99 = '3ms'\nclick_rate = false\n"
      "click_margin = 0.3\noverlap = 0.4\nrank_correlation = 0.5\n");
  CHECK(read.steps == std::vector<double>{0.01, 0.025});
  CHECK(read.pause == 2min);
  CHECK(read.baseline);
  CHECK(read.salt == "s");
  CHECK(read.give_up == 24h);
  CHECK(read.verdict.min_sample == 7);
  CHECK(read.verdict.degraded == 0.3);
  CHECK(read.verdict.p50 == 1ms);
  CHECK(read.verdict.p95 == 2ms);
  CHECK(read.verdict.rank_correlation == 0.5);
}

TEST_CASE("a wrong specification is refused, with the line, the key and the bound") {
  auto why = [](const char* text) { return rollout_spec::parse(text).error().text; };
  CHECK(why("") == "the rollout does not name its release");
  CHECK(why("release = 'r'\nstep = 3").find("line 2 of the rollout: step is no key") == 0);
  CHECK(why("release = 'r'\nsteps = [5, 5]").find("must grow") != std::string::npos);
  CHECK(why("release = 'r'\nsteps = [0]").find("0.01 to 100") != std::string::npos);
  CHECK(why("release = 'r'\nstrategy = 'big bang'").find("must be canary") != std::string::npos);
  CHECK(why("release = 'r'\npause = '5'").find("must be a duration") != std::string::npos);
  CHECK(why("release = 'r'\n[verdict]\nalpha = 0.6").find("alpha must be a number") != std::string::npos);
  CHECK(why("release = 'r'\n[verdict]\nmin_sample = 0").find("min_sample") != std::string::npos);
  CHECK(why("release = 'r'\nstrategy = 'ab'\nsteps = [100]").find("both arms") != std::string::npos);
  CHECK(why("release = 'r'\nstrategy = 'ab'\nsteps = [10, 20]").find("one step") != std::string::npos);
  CHECK(why("release = 'r'\nstrategy = 'shadow'\nsteps = [10]").find("no steps") != std::string::npos);
  CHECK(why("release = 'r'\nstrategy = 'ab'\nbaseline = true").find("only a canary") != std::string::npos);
  CHECK(why("release = 'r'\nstrategy = 'blue-green'\n[verdict]\nclick_rate = true").find("nobody") !=
        std::string::npos);
  CHECK(why("release = 'r'\nstrategy = 'ab'\n[verdict]\nclick_rate = false").find("leave click_rate on") !=
        std::string::npos);
  CHECK(why("release =").find("line 1") != std::string::npos);
}
