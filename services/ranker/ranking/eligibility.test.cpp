#include "services/ranker/ranking/eligibility.hpp"

#include "services/ranker/ranking/ranking_state.hpp"
#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

using namespace troupe::ranker;
using namespace troupe::ranker::testing;

TEST_CASE("an item may not be shown for the first reason that holds against it") {
  query asked;
  asked.exclude = {"x"};
  asked.known = known_user({"h"});
  asked.session = {"s"};
  asked.now = 1000;
  asked.filters = {{"genres", predicate_op::contains, true, "War", 0, {}}};
  auto expired = card("expired"), later = card("later");
  expired.expires = 1000;
  later.expires = 1001;
  auto items = snapshot_of({card("a"), card("x"), card("h"), card("s"), card("war", {"War"}),
                            card("horror", {"Horror"}), expired, later});
  auto why = [&](std::string id, bool leave_out_seen = true, bool filter_seen = true) {
    loaded_release release;
    release.space = test_space();
    release.rules.filter_seen = filter_seen;
    release.rules.rules.push_back({rule_kind::filter,
                                   "no horror",
                                   {"genres", predicate_op::contains, false, "Horror", 0, {}},
                                   0,
                                   0,
                                   "",
                                   0});
    ranking_scratch room;
    ranking_state state{release, items, asked, room, leave_out_seen};
    auto item = test_space()->add(id);
    auto reason = state.eligible.reason_against(item);
    CHECK(state.eligible.may_be_shown(item) == reason.empty());
    return std::string{reason};
  };

  CHECK(why("a").empty());
  CHECK(why("x") == "excluded");
  CHECK(why("h") == "seen");
  CHECK(why("s") == "seen");
  CHECK(why("war") == "filter");
  CHECK(why("horror") == "rule");
  CHECK(why("expired") == "expired");
  CHECK(why("later").empty());
  CHECK(why("in no snapshot").empty());
  CHECK(why("h", false).empty());
  CHECK(why("h", true, false).empty());
}
