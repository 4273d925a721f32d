#include "services/deployer/analysis.hpp"

#include "common/core/hash.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <random>

using namespace troupe;
using namespace troupe::deployer;

namespace {

rollout running(const std::string& toml, std::uint32_t at_step = 0) {
  rollout out;
  out.id = "r";
  out.spec_text = "release = 'new'\n" + toml;
  out.spec = *rollout_spec::parse(out.spec_text);
  out.release = "new";
  out.from = "old";
  out.weights = weights_of(out.spec, 1, false);
  out.state = RolloutState::running;
  out.step = at_step;
  return out;
}

arm_evidence& arm_in(window& seen, std::string_view name) {
  auto found = std::ranges::find(seen.arms, name, &arm_evidence::arm);
  REQUIRE(found != seen.arms.end());
  return *found;
}

/// Answers as the gateways count them, so many slower than 500 ms.
void serve(arm_evidence& to, std::uint64_t answers, std::uint64_t errors = 0, std::uint64_t slow = 0) {
  to.answers += answers;
  to.errors += errors;
  to.latency.bounds = {10'000, 500'000};
  to.latency.counts = {answers - slow, 0, slow};
}

/// Visits of as many users, five items shown each time, clicked at this rate.
void show(arm_evidence& to, int visits, double rate, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::bernoulli_distribution click{rate};
  for (int i = 0; i < visits; ++i) {
    auto& cell = to.cells[random() % user_buckets];
    ++cell.answers;
    for (int item = 0; item < 5; ++item) {
      ++cell.impressions;
      cell.clicks += click(random);
    }
  }
}

const wire::DecisionT& line(const analysis& in, std::string_view metric) {
  auto found = std::ranges::find(in.lines, metric, &wire::DecisionT::metric);
  REQUIRE_MESSAGE(found != in.lines.end(), metric);
  return *found;
}

constexpr auto two_steps = "steps = [20, 50, 100]\n[verdict]\nclick_margin = 0.2\n";

/// A canary of half the users that was seen like this.
analysis canary_of(double canary_rate, double production_rate, int visits, std::uint32_t at_step) {
  auto of = running(two_steps, at_step);
  auto seen = window_of(of, 0);
  auto share = of.weights[at_step];
  serve(arm_in(seen, "canary"), static_cast<std::uint64_t>(visits));
  serve(arm_in(seen, "production"), static_cast<std::uint64_t>(visits));
  show(arm_in(seen, "canary"), static_cast<int>(visits * share * 2), canary_rate, 1);
  show(arm_in(seen, "production"), static_cast<int>(visits * (1 - share) * 2), production_rate, 2);
  return analyze_step(of, seen, 1'000'000);
}

} // namespace

TEST_CASE("nothing seen is not enough data, for every metric of every strategy") {
  for (auto* toml : {"strategy = 'canary'", "baseline = true", "strategy = 'ab'", "strategy = 'shadow'",
                     "strategy = 'blue-green'", "strategy = 'rolling'"}) {
    auto of = running(toml);
    auto got = analyze_step(of, window_of(of, 0), 1'000'000'000);

    CHECK_MESSAGE(got.verdict == Verdict3::not_enough_data, toml);
    CHECK(!got.lines.empty());
    for (auto& each : got.lines)
      CHECK_MESSAGE(each.verdict == Verdict3::not_enough_data, toml, " ", each.metric);
  }
}

TEST_CASE("answers without a click are not enough data either: the clicks may not arrive at all") {
  auto got = canary_of(0, 0, 5'000, 0);

  CHECK(got.verdict == Verdict3::not_enough_data);
  CHECK(line(got, "error_rate").verdict == Verdict3::pass);
  CHECK(line(got, "click_rate").verdict == Verdict3::not_enough_data);
}

TEST_CASE(
    "a canary as good as production passes; its last compared step asks for more than the ones before") {
  CHECK(canary_of(0.1, 0.1, 1'500, 0).verdict == Verdict3::pass);
  auto few = canary_of(0.1, 0.1, 1'000, 1);
  CHECK(few.verdict == Verdict3::not_enough_data);
  CHECK(line(few, "click_rate").bound == doctest::Approx(-0.2));
  CHECK(canary_of(0.1, 0.1, 20'000, 1).verdict == Verdict3::pass);
}

TEST_CASE("a canary that is clicked less fails, and the record says metric, value, bound, n and why") {
  auto got = canary_of(0.05, 0.1, 3'000, 0);

  CHECK(got.verdict == Verdict3::fail);
  auto& why = line(got, "click_rate");
  CHECK(why.verdict == Verdict3::fail);
  CHECK(why.value == doctest::Approx(-0.5).epsilon(0.2));
  CHECK(why.n == 1'200);
  CHECK(why.arm == "canary");
  CHECK(why.against == "production");
  CHECK(why.window_us == 1'000'000);
  CHECK(got.reason.find("click_rate of canary") == 0);
}

TEST_CASE("errors and slow answers beyond their bound fail, once it is certain") {
  auto of = running("[verdict]\nclick_rate = false");
  auto seen = window_of(of, 0);
  serve(arm_in(seen, "production"), 10'000, 10);

  serve(arm_in(seen, "canary"), 600, 9); // 1.5 %: above the bound of 1 %, not yet for certain.
  CHECK(analyze_step(of, seen, 1).verdict == Verdict3::not_enough_data);
  arm_in(seen, "canary") = window_of(of, 0).arms[0];
  serve(arm_in(seen, "canary"), 600, 30);
  auto errors = analyze_step(of, seen, 1);
  CHECK(errors.verdict == Verdict3::fail);
  CHECK(line(errors, "error_rate").value == doctest::Approx(0.05));
  arm_in(seen, "canary") = window_of(of, 0).arms[0];
  serve(arm_in(seen, "canary"), 600, 0, 30);
  auto slow = analyze_step(of, seen, 1);
  CHECK(slow.verdict == Verdict3::fail);
  CHECK(line(slow, "p99_us").verdict == Verdict3::fail);
  CHECK(line(slow, "p99_us").bound == 500'000);
  arm_in(seen, "canary") = window_of(of, 0).arms[0];
  serve(arm_in(seen, "canary"), 600, 3, 3);
  CHECK(analyze_step(of, seen, 1).verdict == Verdict3::pass);
}

TEST_CASE("errors in a small sample fail too, but a good small sample does not pass") {
  auto of = running("[verdict]\nclick_rate = false");
  auto seen = window_of(of, 0);
  serve(arm_in(seen, "production"), 600);
  serve(arm_in(seen, "canary"), 30, 30);
  CHECK(analyze_step(of, seen, 1).verdict == Verdict3::fail);
  arm_in(seen, "canary") = window_of(of, 0).arms[0];
  serve(arm_in(seen, "canary"), 499);
  CHECK(analyze_step(of, seen, 1).verdict == Verdict3::not_enough_data);
}

TEST_CASE("what befalls the reference arm as well is neither pass nor fail") {
  auto of = running("[verdict]\nclick_rate = false");
  auto seen = window_of(of, 0);
  serve(arm_in(seen, "canary"), 1'000, 500);
  serve(arm_in(seen, "production"), 5'000, 2'500);

  auto got = analyze_step(of, seen, 1);

  CHECK(got.verdict == Verdict3::not_enough_data);
  CHECK(line(got, "error_rate").reason.find("may not be the release's doing") != std::string::npos);
  // But a release that is far worse than a reference arm that is bad is at fault.
  arm_in(seen, "production").errors = 100;
  CHECK(analyze_step(of, seen, 1).verdict == Verdict3::fail);
}

TEST_CASE("a release whose answers lack more than those of the reference arm fails, a poor fleet passes") {
  auto of = running("[verdict]\nclick_rate = false");
  auto lacking = [&](std::uint64_t canary, std::uint64_t production) {
    auto seen = window_of(of, 0);
    serve(arm_in(seen, "canary"), 1'000);
    serve(arm_in(seen, "production"), 5'000);
    arm_in(seen, "canary").degraded = canary;
    arm_in(seen, "production").degraded = production;
    return analyze_step(of, seen, 1);
  };

  CHECK(lacking(0, 0).verdict == Verdict3::pass);
  CHECK(lacking(1'000, 5'000).verdict == Verdict3::pass); // features that nobody serves
  auto worse = lacking(1'000, 0);
  CHECK(worse.verdict == Verdict3::fail);
  CHECK(line(worse, "degraded").bound == doctest::Approx(0.05));
  CHECK(lacking(1'000, 2'500).verdict == Verdict3::fail);
  // With everybody on it there is nothing to compare with: it is not judged.
  auto all = running("steps = [20, 100]\n[verdict]\nclick_rate = false", 1);
  auto seen = window_of(all, 0);
  serve(arm_in(seen, "canary"), 1'000);
  arm_in(seen, "canary").degraded = 1'000;
  CHECK(analyze_step(all, seen, 1).verdict == Verdict3::pass);
}

TEST_CASE("the progress of a step says what each arm has and needs") {
  auto of = running("steps = [20, 100]\n[verdict]\nmin_sample = 300");
  auto seen = window_of(of, 0);
  serve(arm_in(seen, "canary"), 12, 2);
  arm_in(seen, "canary").degraded = 3;
  show(arm_in(seen, "canary"), 10, 1, 1);
  serve(arm_in(seen, "production"), 40);
  auto arms = progress_of(of, seen);

  REQUIRE(arms.size() == 2);
  auto& canary = *arms[0];
  CHECK(canary.arm == "canary");
  CHECK(canary.release == "new");
  CHECK(canary.answers == 12);
  CHECK(canary.counted == 10); // The impressions of two are still to come.
  CHECK(canary.needed == 300);
  CHECK(canary.errors == 2);
  CHECK(canary.degraded == 3);
  CHECK(canary.clicks == 50);
  CHECK(arms[1]->arm == "production");
  CHECK(arms[1]->counted == 0);
  CHECK(arms[1]->needed == 300);
  // Without clicks to compare, production may be as silent as it likes.
  of = running("steps = [20, 100]\n[verdict]\nclick_rate = false");
  arms = progress_of(of, seen);
  CHECK(arms[0]->counted == 12);
  CHECK(arms[1]->needed == 0);

  auto dark = running("strategy = 'shadow'");
  auto compared = window_of(dark, 0);
  compared.shadow.compared = 7;
  compared.shadow.errors = 1;
  auto shadow = progress_of(dark, compared);
  REQUIRE(shadow.size() == 1);
  CHECK(shadow[0]->arm == "shadow");
  CHECK(shadow[0]->counted == 7);
  CHECK(shadow[0]->needed == 500);
}

TEST_CASE("a machine that halts for a moment is not held against the release, a release that fails is") {
  auto of = running("[verdict]\nclick_rate = false");
  auto slow = [&](std::array<std::uint64_t, 2> canary, std::array<std::uint64_t, 2> production) {
    auto seen = window_of(of, 0);
    serve(arm_in(seen, "canary"), canary[1], 0, canary[0]);
    serve(arm_in(seen, "production"), production[1], 0, production[0]);
    return analyze_step(of, seen, 1).verdict;
  };

  CHECK(slow({3, 10}, {1, 25}) == Verdict3::not_enough_data);       // four visitors, just after the start
  CHECK(slow({17, 646}, {25, 1'400}) == Verdict3::not_enough_data); // again and again: 1.8 % of production
  CHECK(slow({10, 10}, {0, 25}) == Verdict3::fail);
  CHECK(slow({30, 646}, {3, 1'400}) == Verdict3::fail);
  CHECK(slow({30, 646}, {0, 0}) == Verdict3::fail); // nothing to compare with
}

TEST_CASE("an arm that gets another share of the users than it should stops the comparison") {
  auto of = running("steps = [50, 100]");
  auto seen = window_of(of, 0);
  for (auto* name : {"canary", "production"}) {
    serve(arm_in(seen, name), 5'000);
    show(arm_in(seen, name), *name == 'c' ? 4'000 : 6'000, 0.1, 3);
  }

  auto got = analyze_step(of, seen, 1);

  CHECK(got.verdict == Verdict3::fail);
  CHECK(line(got, "sample_ratio").verdict == Verdict3::fail);
  CHECK(line(got, "sample_ratio").value == doctest::Approx(0.4));
  CHECK(line(got, "sample_ratio").bound == doctest::Approx(0.5));
}

TEST_CASE("an A/B test ends when one arm is better, and not before") {
  auto analyzed_ab = [](double a, double b) {
    auto of = running("strategy = 'ab'");
    auto seen = window_of(of, 0);
    for (auto* name : {"a", "b"}) {
      serve(arm_in(seen, name), 5'000);
      show(arm_in(seen, name), 5'000, *name == 'a' ? a : b, *name == 'a' ? 5 : 6);
    }
    return analyze_step(of, seen, 1);
  };
  CHECK(analyzed_ab(0.1, 0.14).verdict == Verdict3::pass);
  CHECK(analyzed_ab(0.14, 0.1).verdict == Verdict3::fail);
  CHECK(analyzed_ab(0.1, 0.1).verdict == Verdict3::not_enough_data);
}

TEST_CASE("a shadow is judged by errors, latency, overlap and rank correlation") {
  auto of = running("strategy = 'shadow'\n[verdict]\noverlap = 0.5\nrank_correlation = 0.2");
  auto seen = window_of(of, 0);
  seen.shadow.compared = 2'000;
  seen.shadow.overlap_sum = 1'400;
  seen.shadow.correlation_sum = 900;
  seen.shadow.latency.bounds = {10'000, 500'000};
  seen.shadow.latency.counts = {2'000, 0, 0};
  CHECK(analyze_step(of, seen, 1).verdict == Verdict3::pass);
  CHECK(line(analyze_step(of, seen, 1), "overlap").value == doctest::Approx(0.7));

  auto other = seen;
  other.shadow.overlap_sum = 400;
  CHECK(line(analyze_step(of, other, 1), "overlap").verdict == Verdict3::fail);
  // What is asked of one that names no bounds: not to show something else altogether, not to turn it over.
  auto plain = running("strategy = 'shadow'");
  CHECK(analyze_step(plain, seen, 1).verdict == Verdict3::pass);
  auto stranger = seen;
  stranger.shadow.overlap_sum = 0;
  CHECK(line(analyze_step(plain, stranger, 1), "overlap").verdict == Verdict3::fail);
  auto reversed = seen;
  reversed.shadow.correlation_sum = -1'800;
  CHECK(line(analyze_step(plain, reversed, 1), "rank_correlation").verdict == Verdict3::fail);
  auto broken = seen;
  broken.shadow.errors = 200;
  CHECK(line(analyze_step(of, broken, 1), "error_rate").verdict == Verdict3::fail);
}

TEST_CASE("a whole canary of a release as good as the one before raises an alarm less often than alpha") {
  constexpr int runs = 200;
  int alarms = 0, passed = 0;

  for (int run = 0; run < runs; ++run) {
    auto of = running("steps = [50]\n[verdict]\nclick_margin = 0.5\nalpha = 0.1\nmin_sample = 200");
    auto seen = window_of(of, 0);
    std::mt19937_64 random{static_cast<std::uint64_t>(run)};
    std::bernoulli_distribution canary{0.5}, click{0.1}, error{0.008}, slow{0.008};
    auto verdict = Verdict3::not_enough_data;
    for (int look = 0; look < 60 && verdict != Verdict3::fail; ++look) {
      for (int i = 0; i < 50; ++i) {
        auto user = random();
        auto& to = arm_in(seen, user % 2 == 0 ? "canary" : "production");
        to.latency.bounds = {500'000};
        to.latency.counts.resize(2);
        ++to.latency.counts[slow(random)];
        ++to.answers;
        to.errors += error(random);
        auto& cell = to.cells[hash64(std::to_string(user)) % user_buckets];
        ++cell.answers;
        cell.impressions += 5;
        for (int item = 0; item < 5; ++item)
          cell.clicks += click(random);
      }
      verdict = analyze_step(of, seen, look).verdict;
    }
    alarms += verdict == Verdict3::fail;
    passed += verdict == Verdict3::pass;
  }

  MESSAGE(alarms, " false alarms and ", passed, " passes in ", runs, " canaries, alpha 0.1");
  CHECK(alarms <= runs / 10);
  CHECK(passed > runs / 2);
}
