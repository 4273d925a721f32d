#include "services/gateway/http/key_ring.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

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

TEST_CASE("keys made and revoked while it runs count with the next look, and nobody is let in again without "
          "one") {
  testing::temp_dir folder;
  auto file = folder / "api-keys.toml";
  auto ring = key_ring::open(file).value();
  CHECK(!ring->guarded());
  auto key = security::create_api_key(file, "a", 1, 0).value();
  CHECK(!ring->find(key));

  ring->refresh();

  CHECK(ring->guarded());
  CHECK(ring->find(key));
  REQUIRE(security::revoke_api_key(file, "a"));
  ring->refresh();
  CHECK(!ring->find(key));
  std::filesystem::remove(file);
  ring->refresh();
  CHECK(ring->guarded());
}
