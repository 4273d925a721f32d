#include "services/ranker/serving/user_cache.hpp"

#include <doctest/doctest.h>

using namespace troupe::ranker;

TEST_CASE("the cache keeps the users used last") {
  user_cache cache{2};
  auto user = std::make_shared<const user_features>();
  cache.put("a", user);
  cache.put("b", user);
  CHECK(cache.find("a"));
  cache.put("c", user);
  CHECK(cache.find("a"));
  CHECK(!cache.find("b"));
}
