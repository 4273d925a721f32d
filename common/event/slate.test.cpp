#include "common/event/slate.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace troupe;

namespace {

std::optional<slate> read_back(const record& from) {
  auto held = batch::open(encode_batch(std::span{&from, 1})).value();
  return slate::from_record(held[0]);
}

slate sample() {
  slate seen;
  seen.request_id = "r1";
  seen.user = "u1";
  seen.shown_at = from_micros(1'700'000'000'000'000);
  seen.arm = "canary";
  seen.release = "new";
  seen.routing_version = 7;
  seen.degraded = true;
  seen.items = {{"i1", 1, 0.25}, {"i2", 2, 1}};
  seen.context = {{"device", std::string{"mobile"}}, {"page", 3.0}};
  return seen;
}

record shown(std::vector<shown_item> items) {
  auto made = sample();
  made.items = std::move(items);
  return std::move(made).to_record();
}

} // namespace

TEST_CASE("a slate reads back from its record as it was written") {
  auto made = sample().to_record();
  auto read = read_back(made);

  CHECK(check(made));
  CHECK(made.id == "slate:r1");
  CHECK(made.kind == record_kind::slate);
  CHECK(made.partition_key() == "u1");
  auto sorted = made;
  normalise(sorted);
  CHECK(sorted == made);
  REQUIRE(read);
  CHECK(read->request_id == "r1");
  CHECK(read->user == "u1");
  CHECK(read->shown_at == sample().shown_at);
  CHECK(read->items == sample().items);
  CHECK(read->arm == "canary");
  CHECK(read->release == "new");
  CHECK(read->routing_version == 7);
  CHECK(read->degraded);
  CHECK(read->context == sample().context);
}

TEST_CASE("an impression of before, or of another system, is a slate of one item; a click is none") {
  record other;
  other.id = "x";
  other.type = "impression";
  other.user = "u";
  other.item = "i";
  other.attributes = {{"arm", std::string{"a"}}, {"position", 4.0}, {"propensity", 0.5}, {"slot", 2.0}};

  auto read = read_back(other);
  REQUIRE(read);
  CHECK(read->items == std::vector<shown_item>{{"i", 4, 0.5}});
  CHECK(read->arm == "a");
  CHECK(read->context == std::vector<attribute>{{"slot", 2.0}});
  CHECK(read->routing_version == 0);
  CHECK(!read->degraded);

  other.attributes = {{"position", -4.0}};
  CHECK(read_back(other)->items == std::vector<shown_item>{{"i", 0, 1}});
  other.type = "click";
  CHECK(!read_back(other));
}

TEST_CASE("a request of any length that a request may have gives a slate an id of its own") {
  for (std::size_t length : {250, 251, 1'024}) {
    auto of = sample(), other = sample();
    of.request_id = std::string(length, 'r');
    other.request_id = std::string(length - 1, 'r') + 's';
    auto made = std::move(of).to_record();

    CHECK_MESSAGE(check(made), length);
    CHECK((made.id == "slate:" + made.request_id) == (length == 250));
    CHECK(made.id == slate_id(made.request_id));
    CHECK(made.id != slate_id(other.request_id));
  }
}

TEST_CASE("a slate has items, each at a place of its own, with chances above 0; what it shows is sorted") {
  CHECK(check(shown({{"b", 2, 0.5}, {"a", 1, 1}})));
  CHECK(shown({{"b", 2, 0.5}, {"a", 1, 1}}).shown.front().item == "a");
  CHECK(shown({{"b", 2, 0.5}, {"a", 0, 1}}).shown.front().item == "b"); // As it came: one is not known.
  CHECK(check(shown({{"a", 0, 1}, {"b", 0, 1}})));
  CHECK(check(shown({{"a", 1, 1}, {"a", 2, 1}}))); // Some pages show a thing twice.
  CHECK(check(shown(std::vector<shown_item>(max_shown, {"a", 0, 1}))));

  for (auto& [items, says] : std::vector<std::pair<std::vector<shown_item>, std::string>>{
           {{}, "shown has no items"},
           {{{"", 1, 1}}, "shown.item is missing"},
           {{{std::string(1'025, 'a'), 1, 1}}, "shown.item has 1025 bytes"},
           {{{"a\n", 1, 1}}, "control character"},
           {{{"a", 3, 1}, {"b", 3, 1}}, "position 3 twice"},
           {{{"a", 1, 0}}, "propensity 0 "},
           {{{"a", 1, 1.5}}, "propensity 1.5 "},
           {{{"a", 1, std::numeric_limits<double>::quiet_NaN()}}, "propensity nan "},
           {std::vector<shown_item>(max_shown + 1, {"a", 0, 1}), "shown has 1001 items"}}) {
    auto good = check(shown(items));
    REQUIRE_MESSAGE(!good, says);
    CHECK_MESSAGE(good.error().text.find(says) != std::string::npos, good.error().text);
  }
  auto other = sample().to_record();
  other.item = "i";
  CHECK(!check(other));
  other = sample().to_record();
  other.type = "click";
  CHECK(!check(other));
  record event;
  event.id = event.type = event.user = event.item = "e";
  event.shown = {{"a", 1, 1}};
  CHECK(!check(event));
}
