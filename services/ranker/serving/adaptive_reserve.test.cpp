#include "services/ranker/serving/adaptive_reserve.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::ranker;
using namespace std::chrono_literals;

TEST_CASE("the reserve grows by what answers are late, shrinks slowly where they are early, and has bounds") {
  adaptive_reserve reserve{10ms};
  deadline until{deadline::clock::time_point{1h}};
  CHECK(reserve.get() == 5ms);

  reserve.cut(until, until.at() + 1ms); // 2.5 ms of the way to the caller, too.
  CHECK(reserve.get() == 8500us);
  for (int i = 0; i < 100; ++i)
    reserve.cut(until, until.at() + 1s);
  CHECK(reserve.get() == 40ms);
  reserve.cut(until, until.at() - 34500us); // 32 ms early.
  CHECK(reserve.get() == 38ms);
  for (int i = 0; i < 1000; ++i)
    reserve.cut(until, until.at() - 34500us);
  CHECK(reserve.get() == 1250us);
  reserve.cut(until, until.at() - 2500us); // Just in time.
  CHECK(reserve.get() == 1250us);
}
