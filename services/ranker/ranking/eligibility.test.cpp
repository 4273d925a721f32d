#include "services/ranker/ranking/eligibility.hpp"

#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

using namespace troupe::ranker;
using namespace troupe::ranker::testing;

TEST_CASE("an item may not be shown for the first reason that holds against it") {
  ruleset rules;
  rules.rules.push_back({rule_kind::filter,
                         "no horror",
                         {"genres", predicate_op::contains, false, "Horror", 0, {}},
                         0,
                         0,
                         "",
                         0});
  query asked;
  asked.exclude = {"x"};
  asked.history = {"h"};
  asked.session = {"s"};
  asked.now = 1000;
  asked.filters = {{"genres", predicate_op::contains, true, "War", 0, {}}};
  eligibility of_user{rules, asked, true};
  auto why = [&](const eligibility& of, item_attributes about) {
    return of.reason_against(about.id, &about);
  };

  CHECK(why(of_user, card("a")).empty());
  CHECK(why(of_user, card("x")) == "excluded");
  CHECK(why(of_user, card("h")) == "seen");
  CHECK(why(of_user, card("s")) == "seen");
  CHECK(why(of_user, card("a", {"War"})) == "filter");
  CHECK(why(of_user, card("a", {"Horror"})) == "rule");
  auto expired = card("a");
  expired.expires = 1000;
  CHECK(why(of_user, expired) == "expired");
  CHECK(of_user.reason_against("nobody knows it", nullptr).empty());

  CHECK(why(eligibility{rules, asked, false}, card("h")).empty());
  rules.filter_seen = false;
  CHECK(why(eligibility{rules, asked, true}, card("h")).empty());
  of_user.exclude("a");
  CHECK(why(of_user, card("a")) == "excluded");
}
