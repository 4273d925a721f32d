#include "services/cli/traffic_statistics.hpp"

#include "services/cli/synthetic_data/random.hpp"

#include <doctest/doctest.h>

#include <initializer_list>

using namespace troupe;

TEST_CASE("the click rate of equal visits has the variance of their mean") {
  cli::click_sums sums;
  for (std::uint64_t clicked : std::initializer_list<std::uint64_t>{0, 1, 2, 1})
    sums.add(5, clicked);

  CHECK(sums.rate() == doctest::Approx(0.2));
  // Rates 0, .2, .4, .2: sample variance .08/3, of the mean of four: .02/3.
  CHECK(sums.variance() == doctest::Approx(0.02 / 3));
}

TEST_CASE("the interval of the click rate holds the truth about 95 times in 100") {
  synthetic_data::random source{7};
  int held = 0;
  for (int trial = 0; trial < 1'000; ++trial) {
    cli::click_sums sums;
    for (int visit = 0; visit < 300; ++visit) {
      auto shown = 3 + source.below(5);
      auto taste =
          source.uniform() * 0.4; // Of this visitor: visits differ, so impressions are not independent.
      std::uint64_t clicked = 0;
      for (std::uint64_t i = 0; i < shown; ++i)
        clicked += source.uniform() < taste;
      sums.add(shown, clicked);
    }
    held += std::abs(sums.rate() - 0.2) <= sums.margin();
  }
  CHECK(held > 925);
  CHECK(held < 975);
}

TEST_CASE("nothing seen is no rate and no interval") {
  CHECK(cli::click_sums{}.rate() == 0);
  CHECK(cli::click_sums{}.margin() == 0);
}
