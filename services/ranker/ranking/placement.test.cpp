#include "services/ranker/ranking/placement.hpp"

#include "services/ranker/ranking/exploration.hpp"
#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

#include <optional>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

struct placement_fixture {
  ruleset rules;
  std::optional<loaded_release> loaded;
  item_snapshot items = snapshot_of({card("a", {"War"}), card("b", {"War"}), card("c", {"Drama"}),
                                     card("d", {"Drama"}), card("p", {"War"})});
  query asked;
  ranking_scratch room;
  std::optional<ranking_state> state;

  placement_fixture() {
    asked.n = 3;
    asked.explain = true;
  }

  void add(rule_kind kind, const std::string& word_or_item, std::uint32_t most_or_position) {
    rule made;
    made.kind = kind;
    made.name = "r";
    made.when = {"genres", predicate_op::contains, false, word_or_item, 0, {}};
    made.item = word_or_item;
    made.most = most_or_position;
    made.position = most_or_position;
    rules.rules.push_back(made);
  }

  /// The candidates have their scores in this order.
  placement placed(const std::string& order) {
    state.reset();
    auto& release = loaded.emplace();
    release.space = test_space();
    release.rules = rules;
    bind_items(release);
    state.emplace(release, items, asked, room, true);
    for (std::size_t i = 0; i < order.size(); ++i)
      state->pool.offer(test_space()->add(order.substr(i, 1)), candidate_source::recent,
                        -static_cast<double>(i));
    state->pool.sort_first(2);
    return place(*state);
  }

  std::string text(const placement& of) const {
    std::string out;
    for (auto& each : of.slots)
      out += each.item == no_item ? std::string_view{"-"} : test_space()->id(each.item);
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
  CHECK(room.told[got.slots[1].told].notes == std::vector<std::string>{"pinned by r"});
  CHECK(got.slots[1].sources.names() == std::vector<std::string>{"recent", "pinned"});
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
  rules.exploration = 0.5;
  add(rule_kind::cap, "War", 5);

  auto got = placed("cabd");

  REQUIRE(got.tail.size() == 1);
  CHECK(test_space()->id(got.tail[0].item) == "d");
  rules.explore_among = 0;
  CHECK(placed("cabd").tail.empty());
}

TEST_CASE_FIXTURE(placement_fixture, "an explored answer keeps pins and gives each item its propensity") {
  asked.n = 2;
  add(rule_kind::pin, "p", 0);
  auto answered = [&](double share) {
    rules.exploration = share;
    auto got = placed("ab");
    explore_placement(got, *state);
    return state->answer.items;
  };

  auto got = answered(1);

  REQUIRE(got.size() == 2);
  CHECK(got[0].item == "p");
  CHECK(got[0].propensity == 1);
  CHECK(got[1].item == "b");
  CHECK(got[1].propensity == 1);
  CHECK(got[1].notes == std::vector<std::string>{"explored"});
  auto plain = answered(0);
  CHECK(plain[1].item == "a");
  CHECK(plain[1].propensity == 1);
}

TEST_CASE_FIXTURE(placement_fixture,
                  "a boost adds to the score of the items it is for, and says so where that is asked for") {
  add(rule_kind::boost, "War", 0);
  rules.rules[0].amount = 2.5;
  for (bool explain : {false, true}) {
    asked.explain = explain;
    placed("ac");

    apply_boosts(*state);

    CHECK(state->pool.all[0].score == 2.5);
    CHECK(state->pool.all[1].score == -1);
  }
  CHECK(room.told[0].notes == std::vector<std::string>{"boosted by r"});
  CHECK(room.told[1].notes.empty());
}
