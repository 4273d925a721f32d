#include "common/event/impression.hpp"

#include <doctest/doctest.h>

using namespace troupe;

namespace {

std::optional<impression> read_back(const record& from) {
  auto held = batch::open(encode_batch(std::span{&from, 1})).value();
  return impression::from_record(held[0]);
}

} // namespace

TEST_CASE("an impression reads back from its record as it was written") {
  impression seen;
  seen.request_id = "r1";
  seen.user = "u1";
  seen.item = "i1";
  seen.shown_at = from_micros(1'700'000'000'000'000);
  seen.position = 3;
  seen.propensity = 0.25;
  seen.arm = "canary";
  seen.release = "new";
  seen.routing_version = 7;
  seen.degraded = true;

  auto made = seen.to_record();
  auto read = read_back(made);

  CHECK(check(made));
  CHECK(made.id == "imp:r1:3");
  auto sorted = made;
  normalise(sorted);
  CHECK(sorted == made);
  REQUIRE(read);
  CHECK(read->request_id == "r1");
  CHECK(read->user == "u1");
  CHECK(read->item == "i1");
  CHECK(read->shown_at == seen.shown_at);
  CHECK(read->position == 3);
  CHECK(read->propensity == 0.25);
  CHECK(read->arm == "canary");
  CHECK(read->release == "new");
  CHECK(read->routing_version == 7);
  CHECK(read->degraded);
}

TEST_CASE("an impression of another system has what it says and defaults for the rest; a click is none") {
  record other;
  other.id = "x";
  other.type = "impression";
  other.user = "u";
  other.item = "i";
  other.attributes = {{"position", -4.0}};

  auto read = read_back(other);
  other.type = "click";

  REQUIRE(read);
  CHECK(read->position == 0);
  CHECK(read->propensity == 1);
  CHECK(read->arm.empty());
  CHECK(read->routing_version == 0);
  CHECK(!read->degraded);
  CHECK(!read_back(other));
}
