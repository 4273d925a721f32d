#include "services/feature_store/online/change_log.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>

using namespace troupe::feature_store;

namespace {

using ids = std::vector<std::string>;

/// View 0 is of own records, 1 and 2 are of events.
struct listened_log {
  change_log log;
  std::vector<std::uint32_t> views{0, 1};

  explicit listened_log(std::size_t most = 100'000) : log{{true, false, false}, most} { log.listen(views); }

  changed_entities since(const std::string& place, bool events = true, std::size_t limit = 100) const {
    return log.since(place, views, events, limit);
  }
  std::string now() const { return since("").next; }
};

} // namespace

TEST_CASE("changes come once each, the oldest first, page by page") {
  listened_log of;
  auto place = of.now();
  for (auto* each : {"a", "b", "c", "a"})
    of.log.note(0, each);
  of.log.note(1, "c");

  auto first = of.since(place, true, 2);
  CHECK(first.ids == ids{"b", "c"});
  CHECK(first.more);
  auto second = of.since(first.next, true, 2);
  CHECK(second.ids == ids{"a", "c"}); // Of c the events come after.
  CHECK(!second.more);
  CHECK(of.since(second.next).ids.empty());
  // Nothing is taken away: who asks again gets the same.
  CHECK(of.since(place).ids == ids{"b", "c", "a"});
}

TEST_CASE("what events have changed waits for who asks for it, and is asked for by nobody else") {
  listened_log of;
  auto place = of.now();
  of.log.note(1, "clicked");
  of.log.note(0, "written");
  of.log.note(2, "of a view that nobody asks about");

  auto records = of.since(place, false);
  CHECK(records.ids == ids{"written"});
  of.log.note(0, "again");
  records = of.since(records.next, false);
  CHECK(records.ids == ids{"again"});
  CHECK(of.since(records.next, true).ids == ids{"clicked"});
}

TEST_CASE("a place that is not known any more is answered reset, with the one behind all changes") {
  listened_log of{3}, other;
  auto place = of.now();
  auto is_reset = [&](const std::string& from) {
    auto got = of.since(from);
    CHECK(got.ids.empty());
    CHECK(!of.since(got.next).reset);
    return got.reset;
  };

  CHECK(!is_reset(""));
  CHECK(is_reset(other.now()));
  for (auto* each : {"a place", "1.2", "1.2.3.4", "..", "1.2.99999999999999999999"})
    CHECK(is_reset(each));
  for (auto* each : {"a", "b", "c", "b"})
    of.log.note(0, each);
  CHECK(of.since(place).ids == ids{"a", "c", "b"});
  of.log.note(0, "d"); // a is forgotten.
  CHECK(is_reset(place));
  CHECK(of.since(of.since(of.now(), true).next).ids.empty());
  // Before a view is listened to nothing of it is known.
  auto before = of.now();
  of.log.note(2, "x");
  of.views.push_back(2);
  of.log.listen(of.views);
  CHECK(is_reset(before));
}

TEST_CASE("what events have changed and is forgotten is missed by who asks for it alone") {
  listened_log of{3};
  auto place = of.now();
  of.log.note(0, "written");
  for (auto* each : {"a", "b", "c", "d"})
    of.log.note(1, each);

  auto records = of.since(place, false);
  CHECK(!records.reset);
  CHECK(records.ids == ids{"written"});
  CHECK(of.since(records.next, true).reset);
  of.log.note(0, "again");
  CHECK(of.since(records.next, false).ids == ids{"again"});
  for (auto* each : {"x", "y", "z"})
    of.log.note(0, each); // Of own records one is forgotten, too.
  CHECK(of.since(place, false).reset);
}

TEST_CASE("who follows the changes page by page misses no newest state, whenever the next one comes") {
  std::mt19937 random{std::random_device{}()};
  auto seed = random();
  INFO("seed ", seed);
  random.seed(seed);
  listened_log of;
  std::map<std::string, int> states, copy;
  auto place = of.now();

  for (int i = 0; i < 20'000; ++i) {
    auto id = std::to_string(random() % 50);
    ++states[id];
    of.log.note(random() % 2, id);
    if (random() % 20 == 0) {
      auto page = of.since(place, random() % 3 == 0, 1 + random() % 8);
      REQUIRE(!page.reset);
      for (auto& each : page.ids)
        copy[each] = states[each];
      place = page.next;
    }
  }
  for (bool more = true; more;) {
    auto page = of.since(place, true, 7);
    for (auto& each : page.ids)
      copy[each] = states[each];
    place = page.next;
    more = page.more;
  }

  CHECK(copy == states);
}
