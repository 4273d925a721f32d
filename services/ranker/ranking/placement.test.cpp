#include "services/ranker/ranking/placement.hpp"

#include "services/ranker/ranking/exploration.hpp"
#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

#include <deque>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

struct placement_fixture {
  loaded_release release;
  item_snapshot items = snapshot_of({card("a", {"War"}), card("b", {"War"}), card("c", {"Drama"}),
                                     card("d", {"Drama"}), card("p", {"War"})});
  query asked;
  std::deque<item_attributes> rows;

  placement_fixture() { asked.n = 3; }

  void add(rule_kind kind, const std::string& word_or_item, std::uint32_t most_or_position) {
    rule made;
    made.kind = kind;
    made.name = "r";
    made.when = {"genres", predicate_op::contains, false, word_or_item, 0, {}};
    made.item = word_or_item;
    made.most = most_or_position;
    made.position = most_or_position;
    release.rules.rules.push_back(made);
  }

  placement placed(const std::string& order) {
    std::vector<candidate> all;
    for (char each : order) {
      candidate made;
      made.item = std::string(1, each);
      if (auto row = items.find(made.item))
        made.about = &rows.emplace_back(std::move(*row));
      all.push_back(std::move(made));
    }
    ranking_state state{release, items, asked, true};
    return place(std::move(all), state);
  }

  static std::string text(const placement& of) {
    std::string out;
    for (auto& each : of.slots)
      out += each ? each->item : "-";
    return out;
  }
};

} // namespace

TEST_CASE_FIXTURE(placement_fixture, "items stand in their order, a pinned one at its place, once") {
  CHECK(text(placed("abcd")) == "abc");
  CHECK(text(placed("a")) == "a--");
  add(rule_kind::pin, "d", 1);

  auto got = placed("abcd");

  CHECK(text(got) == "adb");
  CHECK(got.ranked == std::vector<std::size_t>{0, 2});
  CHECK(got.slots[1]->notes == std::vector<std::string>{"pinned by r"});
  CHECK(got.slots[1]->sources.names() == std::vector<std::string>{"pinned"});
  // Not among the candidates, it comes from the snapshot; excluded, it does not come.
  add(rule_kind::pin, "p", 0);
  CHECK(text(placed("abc")) == "pda");
  asked.exclude = {"p", "d"};
  CHECK(text(placed("abc")) == "abc");
  // The request's own candidates are not mixed with pins.
  asked = {};
  asked.n = 2;
  asked.candidates = {"a"};
  CHECK(text(placed("a")) == "a-");
}

TEST_CASE_FIXTURE(placement_fixture, "a cap lets in as many as it says, pinned ones counted") {
  add(rule_kind::cap, "War", 1);
  CHECK(text(placed("abcd")) == "acd");
  add(rule_kind::pin, "p", 2);
  CHECK(text(placed("abcd")) == "cdp");
}

TEST_CASE_FIXTURE(placement_fixture,
                  "the tail of exploration has those behind the answer that no cap counts") {
  asked.n = 1;
  CHECK(placed("abcd").tail.empty());
  release.rules.exploration = 0.5;
  add(rule_kind::cap, "War", 5);

  auto got = placed("cabd");

  REQUIRE(got.tail.size() == 1);
  CHECK(got.tail[0].item == "d");
  release.rules.explore_among = 0;
  CHECK(placed("cabd").tail.empty());
}

TEST_CASE_FIXTURE(placement_fixture, "an explored answer keeps pins and gives each item its propensity") {
  release.rules.exploration = 1;
  asked.n = 2;
  add(rule_kind::pin, "p", 0);

  auto got = explore_placement(placed("ab"), 1, asked);

  REQUIRE(got.size() == 2);
  CHECK(got[0].item == "p");
  CHECK(got[0].propensity == 1);
  CHECK(got[1].item == "b");
  CHECK(got[1].propensity == 1);
  auto plain = explore_placement(placed("ab"), 0, asked);
  CHECK(plain[1].item == "a");
  CHECK(plain[1].propensity == 1);
}

TEST_CASE("a boost adds to the score of the items it is for, and says so where that is asked for") {
  auto war = card("a", {"War"}), drama = card("b", {"Drama"});
  std::vector<candidate> pool(2);
  pool[0].about = &war;
  pool[1].about = &drama;
  ruleset rules;
  rules.rules.push_back(
      {rule_kind::boost, "war", {"genres", predicate_op::contains, false, "War", 0, {}}, 2.5, 0, "", 0});

  apply_boosts(pool, rules, false);
  CHECK(pool[0].score == 2.5);
  CHECK(pool[0].notes.empty());
  CHECK(pool[1].score == 0);
  apply_boosts(pool, rules, true);
  CHECK(pool[0].notes == std::vector<std::string>{"boosted by war"});
}
