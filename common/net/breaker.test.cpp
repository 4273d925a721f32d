#include "common/net/breaker.hpp"

#include <doctest/doctest.h>

using namespace troupe::net;
using namespace std::chrono_literals;

TEST_CASE("a circuit breaker opens after consecutive failures and lets one probe pass") {
  circuit_breaker breaker{3, 1s};
  auto now = circuit_breaker::clock::now();

  breaker.failed(now);
  breaker.failed(now);
  breaker.succeeded();
  breaker.failed(now);
  breaker.failed(now);
  CHECK(breaker.state(now) == breaker_state::closed);
  breaker.failed(now);
  CHECK(breaker.state(now) == breaker_state::open);
  CHECK(!breaker.allows(now + 999ms));

  CHECK(breaker.allows(now + 1s));
  breaker.sent();
  CHECK(breaker.state(now + 1s) == breaker_state::half_open);
  CHECK(!breaker.allows(now + 1s));

  breaker.failed(now + 1s);
  CHECK(breaker.state(now + 1500ms) == breaker_state::open);
  breaker.sent();
  breaker.succeeded();
  CHECK(breaker.state(now) == breaker_state::closed);
}

TEST_CASE("the retry budget gives a share of the calls and a small floor") {
  auto now = retry_budget::clock::now();
  retry_budget budget{0.1, 2, now};

  CHECK(budget.take(now));
  CHECK(budget.take(now));
  CHECK(!budget.take(now));
  for (int i = 0; i < 11; ++i)
    budget.called();
  CHECK(budget.take(now));
  CHECK(!budget.take(now));
  CHECK(budget.take(now + 1s));
}
