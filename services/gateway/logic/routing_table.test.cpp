#include "services/gateway/logic/routing_table.hpp"

#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::gateway;

namespace {

routing_table table_of(std::vector<arm> arms, std::string salt) {
  routing_table out;
  out.version = 1;
  out.arms = std::move(arms);
  out.salt = std::move(salt);
  return out;
}

} // namespace

TEST_CASE("users keep their arm, arms get their share, and another salt deals anew") {
  auto first = table_of({{"production", "r1", 0.9}, {"canary", "r2", 0.1}}, "one");
  auto again = table_of({{"production", "r1", 0.9}, {"canary", "r2", 0.1}}, "one");
  auto other = table_of({{"production", "r1", 0.9}, {"canary", "r2", 0.1}}, "two");
  int canary = 0, moved = 0;

  for (int i = 0; i < 20'000; ++i) {
    auto user = "u" + std::to_string(i);
    CHECK(first.arm_of(user)->name == again.arm_of(user)->name);
    canary += first.arm_of(user)->name == "canary";
    moved += first.arm_of(user)->name != other.arm_of(user)->name;
  }

  CHECK(canary > 1'800);
  CHECK(canary < 2'200);
  CHECK(moved > 3'200); // 2 * 0.1 * 0.9 of them.
  CHECK(moved < 4'000);
}

TEST_CASE("a canary that grows keeps the users it has") {
  auto small = table_of({{"canary", "r2", 0.1}, {"production", "r1", 0.9}}, "s");
  auto large = table_of({{"canary", "r2", 0.5}, {"production", "r1", 0.5}}, "s");

  for (int i = 0; i < 5'000; ++i) {
    auto user = "u" + std::to_string(i);
    if (small.arm_of(user)->name == "canary")
      CHECK(large.arm_of(user)->name == "canary");
  }
}

TEST_CASE("no arms, or none with weight, is no arm; weights a little short still name one") {
  CHECK(table_of({}, "s").arm_of("u") == nullptr);
  CHECK(table_of({{"a", "r", 0}}, "s").arm_of("u") == nullptr);
  auto tiny = table_of({{"a", "r", 1e-12}}, "s");
  REQUIRE(tiny.arm_of("u"));
  CHECK(tiny.arm_of("u")->name == "a");
}

TEST_CASE("a routing table is read from its bytes, and refused where they are none") {
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::Arm>> arms{
      wire::CreateArm(out, out.CreateString("a"), out.CreateString("r"), 1.0)};
  auto list = out.CreateVector(arms);
  auto salt = out.CreateString("s"), shadow = out.CreateString("r2"), rollout = out.CreateString("x");
  out.Finish(wire::CreateRoutingTable(out, 7, list, salt, shadow, rollout), "TRPD");

  auto read = routing_table::read(
      chunk::copy({reinterpret_cast<const std::byte*>(out.GetBufferPointer()), out.GetSize()}));

  REQUIRE(read);
  CHECK(read->version == 7);
  CHECK(read->shadow == "r2");
  REQUIRE(read->arm_of("anybody"));
  CHECK(read->arm_of("anybody")->release == "r");
  CHECK(!routing_table::read(chunk::own("not a table at all")));
}
