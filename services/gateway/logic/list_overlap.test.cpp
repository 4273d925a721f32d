#include "services/gateway/logic/list_overlap.hpp"

#include <doctest/doctest.h>

using namespace troupe::gateway;

TEST_CASE("two lists are compared by what they share and in which order") {
  auto same = compare_lists({"a", "b", "c"}, {"a", "b", "c"});
  auto turned = compare_lists({"a", "b", "c"}, {"c", "b", "a"});
  auto other = compare_lists({"a", "b"}, {"c", "d"});
  CHECK(same.share == doctest::Approx(1));
  CHECK(same.rank_correlation == doctest::Approx(1));
  CHECK(turned.share == doctest::Approx(1));
  CHECK(turned.rank_correlation == doctest::Approx(-1));
  CHECK(other.share == doctest::Approx(0));
}
