#include "services/gateway/key_ring.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <thread>

using namespace troupe;
using namespace troupe::gateway;
using namespace std::chrono_literals;

TEST_CASE("a caller has one second's worth of requests at once, and then its rate") {
  testing::temp_dir folder;
  auto ring = key_ring::open(folder / "api-keys.toml").value();
  auto now = deadline::clock::now();

  for (int i = 0; i < 4; ++i)
    CHECK(!ring->over_rate("a", 4, now));
  auto wait = ring->over_rate("a", 4, now);
  REQUIRE(wait);
  CHECK(wait->count() == doctest::Approx(0.25));
  CHECK(!ring->over_rate("b", 4, now));
  CHECK(!ring->over_rate("a", 4, now + 251ms));
  CHECK(ring->over_rate("a", 4, now + 252ms));
  CHECK(!ring->over_rate("a", 0.5, now + 10s));
  CHECK(!ring->over_rate("a", 0, now));
}

TEST_CASE(
    "keys made and revoked while it runs count after a second, and nobody is let in again without one") {
  testing::temp_dir folder;
  auto file = folder / "api-keys.toml";
  auto ring = key_ring::open(file).value();
  CHECK(!ring->guarded());
  auto key = security::create_api_key(file, "a", 1, 0).value();
  auto soon = deadline::in(20s);
  auto known = [&] { return ring->find(key).has_value(); };

  while (!known() && !soon.passed())
    std::this_thread::yield();
  CHECK(ring->guarded());
  CHECK(known());
  REQUIRE(security::revoke_api_key(file, "a"));
  while (known() && !soon.passed())
    std::this_thread::yield();
  CHECK(!known());
  std::filesystem::remove(file);
  CHECK(ring->guarded());
}
