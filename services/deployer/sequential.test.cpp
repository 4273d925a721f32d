#include "services/deployer/sequential.hpp"

#include "common/core/hash.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

using namespace troupe::deployer;

namespace {

constexpr std::size_t buckets = 1'024;

// The cases with fixed seeds say: this code with these numbers. That the level holds for any numbers, the
// cases with fresh seeds say, which CTest runs apart (deployer_statistics, label slow).

/// What a count of `runs` with probability at most `most` each stays below, but for one time in 30,000.
double bound_of(int runs, double most) {
  return runs * most + 4 * std::sqrt(runs * most * (1 - most));
}

/// Users who differ in how often they come and how much they click, whose pages hold five items that are
/// clicked together or not at all: nothing is independent but the users.
struct world {
  std::mt19937_64 random;
  std::vector<double> taste, activity;
  std::discrete_distribution<std::size_t> next_user;

  explicit world(std::uint64_t seed, std::size_t users) : random{seed} {
    std::gamma_distribution<double> tastes{2, 0.05}, activities{0.7, 1};
    for (std::size_t i = 0; i < users; ++i) {
      taste.push_back(std::min(0.9, tastes(random)));
      activity.push_back(activities(random) + 0.05);
    }
    next_user = {activity.begin(), activity.end()};
  }

  bool assigned(std::size_t user, std::uint64_t salt) const {
    return troupe::hash64(std::to_string(user), salt) % 2 == 0;
  }

  void visit(std::vector<click_cell>& one, std::vector<click_cell>& other, std::uint64_t salt,
             double effect) {
    auto user = next_user(random);
    bool first = assigned(user, salt);
    auto& cell = (first ? one : other)[troupe::hash64(std::to_string(user), 7) % buckets];
    ++cell.answers;
    cell.impressions += 5;
    auto rate = taste[user] * (first ? effect : 1);
    std::bernoulli_distribution mood{0.5}, click{std::min(1.0, rate * 2)};
    if (mood(random))
      for (int i = 0; i < 5; ++i)
        cell.clicks += click(random);
  }
};

/// The look, counted from 1, at which the arms were first told apart; 0: never.
int first_alarm(std::uint64_t seed, double effect, double alpha, int looks, int visits_between) {
  world of{seed, 3'000};
  std::vector<click_cell> one(buckets), other(buckets);
  for (int look = 1; look <= looks; ++look) {
    for (int i = 0; i < visits_between; ++i)
      of.visit(one, other, seed, effect);
    auto a = rate_of(one), b = rate_of(other);
    if (std::min(a.answers, b.answers) < 150 || b.clicks < 20)
      continue;
    auto apart = lift_of(a, b);
    if (std::abs(apart.value) > sequence_half_width(apart.variance, alpha, 0.2))
      return look;
  }
  return 0;
}

/// Of so many sequences of 4,000 trials, those whose largest rate was below the true one at one of 100 looks.
int missed_rates(std::uint64_t seed, int runs, double alpha, double rate, double& last) {
  int missed = 0;
  last = 0;
  for (int run = 0; run < runs; ++run) {
    std::mt19937_64 random{seed + static_cast<std::uint64_t>(run)};
    std::bernoulli_distribution hit{rate};
    std::uint64_t hits = 0, n = 0;
    bool below = false;
    while (n < 4'000) {
      hits += hit(random);
      if (++n % 40 == 0)
        below = below || largest_rate(hits, n, alpha) < rate;
    }
    missed += below;
    last += largest_rate(hits, n, alpha) / runs;
  }
  return missed;
}

/// Of so many rollouts of equal arms that are looked at 200 times, those that raised an alarm.
int false_alarms(std::uint64_t seed, int runs, double alpha) {
  int alarms = 0;
  for (int run = 0; run < runs; ++run)
    alarms += first_alarm(seed + static_cast<std::uint64_t>(run), 1, alpha, 200, 50) != 0;
  return alarms;
}

/// Of so many sequences with this rate of errors, those with evidence above `bound`; and after how many
/// answers.
int error_alarms(std::mt19937_64& random, double rate, double bound, double alpha, int runs, double& mean_n) {
  int alarms = 0;
  double sum = 0;
  for (int run = 0; run < runs; ++run) {
    std::bernoulli_distribution error{rate};
    std::uint64_t hits = 0;
    for (std::uint64_t n = 1; n <= 5'000; ++n) {
      hits += error(random);
      if (n % 10 == 0 && log_evidence_above(hits, n, bound) >= -std::log(alpha)) {
        ++alarms;
        sum += static_cast<double>(n);
        break;
      }
    }
  }
  mean_n = sum / std::max(1, alarms);
  return alarms;
}

} // namespace

TEST_CASE(
    "fixed seeds: the largest rate that was not ruled out is above the true one at all looks, and near it") {
  constexpr double alpha = 0.1, rate = 0.02;
  double last = 0;

  auto missed = missed_rates(0, 400, alpha, rate, last);

  MESSAGE(missed, " of 400 sequences were below the rate at one of 100 looks, alpha ", alpha);
  CHECK(missed <= alpha * 400);
  CHECK(last < 1.5 * rate);
  CHECK(largest_rate(0, 0, alpha) == 1);
  CHECK(largest_rate(7, 7, alpha) == 1);
  CHECK(largest_rate(0, 1'000, alpha) < 0.01);
}

TEST_CASE("fixed seeds: looking at the click rates after every fifty visits alarms less often than alpha") {
  auto alarms = false_alarms(1'000, 400, 0.1);

  MESSAGE(alarms, " false alarms in 400 rollouts looked at 200 times, alpha 0.1");
  CHECK(alarms <= 40);
}

TEST_CASE("fresh seeds: rates, click rates and errors raise false alarms less often than alpha" *
          doctest::skip()) {
  std::random_device source;
  auto seed = static_cast<std::uint64_t>(source()) << 20;
  CAPTURE(seed);
  MESSAGE("seed ", seed);
  constexpr double alpha = 0.1;
  constexpr int runs = 2'000;
  double ignored = 0;
  std::mt19937_64 random{seed};

  auto missed = missed_rates(seed, runs, alpha, 0.02, ignored);
  auto clicks = false_alarms(seed, runs, alpha);
  auto errors = error_alarms(random, 0.01, 0.01, alpha, runs, ignored);

  MESSAGE(missed, ", ", clicks, " and ", errors, " false alarms in ", runs, " each, alpha ", alpha);
  CHECK(missed <= bound_of(runs, alpha));
  CHECK(clicks <= bound_of(runs, alpha));
  CHECK(errors <= bound_of(runs, alpha));
}

TEST_CASE("fixed seeds: a release that is a third worse is found before ten thousand visits nearly always") {
  constexpr int runs = 100;
  int found = 0;
  double looks = 0;

  for (int run = 0; run < runs; ++run)
    if (auto look = first_alarm(static_cast<std::uint64_t>(9'000 + run), 0.67, 0.05, 200, 50); look != 0) {
      ++found;
      looks += look;
    }

  MESSAGE(found, " of ", runs, " found, after ", 50 * looks / std::max(1, found), " visits in the mean");
  CHECK(found >= 90);
}

TEST_CASE("fixed seeds: a fixed-sample interval that is looked at as often is wrong far more often") {
  constexpr int runs = 100;
  int alarms = 0;

  for (int run = 0; run < runs; ++run) {
    world of{static_cast<std::uint64_t>(5'000 + run), 3'000};
    std::vector<click_cell> one(buckets), other(buckets);
    for (int look = 1, told = 0; look <= 200 && !told; ++look) {
      for (int i = 0; i < 50; ++i)
        of.visit(one, other, static_cast<std::uint64_t>(5'000 + run), 1);
      auto a = rate_of(one), b = rate_of(other);
      auto apart = lift_of(a, b);
      if (std::min(a.answers, b.answers) >= 150 && std::abs(apart.value) > 1.645 * std::sqrt(apart.variance))
        alarms += told = 1;
    }
  }

  MESSAGE(alarms, " false alarms in ", runs, " with the 90 % interval of a fixed sample");
  CHECK(alarms > 20);
}

TEST_CASE("fixed seeds: evidence of too many errors is raised by chance less often than alpha, and by errors "
          "soon") {
  constexpr double alpha = 0.05, bound = 0.01;
  std::mt19937_64 random{11};
  double mean = 0;

  auto by_chance = error_alarms(random, bound, bound, alpha, 300, mean);
  auto found = error_alarms(random, 0.05, bound, alpha, 100, mean);

  MESSAGE(by_chance, " of 300 by chance; 5 % errors found in ", found, " of 100, after ", mean, " answers");
  CHECK(by_chance <= alpha * 300);
  CHECK(found == 100);
  CHECK(mean < 500);
}

TEST_CASE("evidence is none without trials, none without hits, and grows with every hit") {
  CHECK(log_evidence_above(0, 0, 0.01) == -INFINITY);
  CHECK(log_evidence_above(0, 1'000, 0.01) < 0);
  CHECK(log_evidence_above(5, 100, 0.01) < log_evidence_above(10, 100, 0.01));
  CHECK(log_evidence_above(100, 100, 0.01) > 100);
  CHECK(log_evidence_above(1'000'000, 100'000'000, 0.01) < 3);
  CHECK(std::isfinite(log_evidence_above(50'000'000, 100'000'000, 0.01)));
}

TEST_CASE("a sequence narrows with information and is wider than a fixed-sample interval") {
  for (double variance : {1.0, 0.01, 0.0001}) {
    CHECK(sequence_half_width(variance, 0.05, 0.2) > 1.96 * std::sqrt(variance));
    CHECK(sequence_half_width(variance, 0.05, 0.2) > sequence_half_width(variance / 2, 0.05, 0.2));
    CHECK(sequence_half_width(variance, 0.01, 0.2) > sequence_half_width(variance, 0.05, 0.2));
  }
  CHECK(sequence_half_width(0, 0.05, 0.2) == INFINITY);
}

TEST_CASE("a click rate knows that clicks of one user come together") {
  std::vector<click_cell> spread(100, {1, 10, 1}), together(100, {1, 10, 0});
  for (int i = 0; i < 10; ++i)
    together[static_cast<std::size_t>(i)].clicks = 10;

  auto a = rate_of(spread), b = rate_of(together);

  CHECK(a.rate == doctest::Approx(0.1));
  CHECK(b.rate == doctest::Approx(0.1));
  CHECK(b.variance > 5 * a.variance);
  CHECK(rate_of({}).impressions == 0);
  // By hand: clicks 1, 3 of 10, 10; rate 0.2; sum of squares 2; variance 2 / 400 * 2.
  std::vector<click_cell> two{{1, 10, 1}, {1, 10, 3}};
  CHECK(rate_of(two).variance == doctest::Approx(0.01));
}

TEST_CASE("quantiles and counts above a latency come from the buckets") {
  std::vector<std::uint64_t> bounds{100, 200, 500}, counts{10, 80, 9, 1};

  CHECK(quantile(bounds, counts, 0.5) == doctest::Approx(150));
  CHECK(quantile(bounds, counts, 0.995) == 500);
  CHECK(count_above(bounds, counts, 500) == 1);
  CHECK(count_above(bounds, counts, 200) == 10);
  CHECK(count_above(bounds, counts, 300) == 10); // Between two bounds: those that may be above count.
  CHECK(quantile({}, {}, 0.5) == 0);
}
