#include "services/gateway/logic/arm_counts.hpp"

#include "schemas/deployer_generated.h"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::gateway;

TEST_CASE("a report holds every outcome once and begins anew") {
  arm_counts seen;
  seen.answered("a", "r", 600, false, false);
  seen.answered("a", "r", 9'000'000, true, true);
  seen.compared("r2", 1'000, 0.5, 1);
  seen.shadow_failed("r2");

  auto bytes = seen.take("gateway/0", 3);
  const auto* report = flatbuffers::GetRoot<wire::ArmReport>(bytes.data());

  CHECK(report->number() == 3);
  REQUIRE(report->arms()->size() == 1);
  const auto* own = report->arms()->Get(0);
  CHECK(own->answers() == 2);
  CHECK(own->errors() == 1);
  CHECK(own->degraded() == 1);
  CHECK(own->latency_counts()->size() == own->latency_bounds_us()->size() + 1);
  CHECK(own->latency_counts()->Get(2) == 1);
  CHECK(own->latency_counts()->Get(own->latency_bounds_us()->size()) == 1);
  REQUIRE(report->shadow()->size() == 1);
  CHECK(report->shadow()->Get(0)->errors() == 1);
  CHECK(seen.take("gateway/0", 4).empty());
}
