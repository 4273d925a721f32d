#include "services/ranker/ranking/candidate.hpp"

#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

using namespace troupe::ranker;
using namespace troupe::ranker::testing;

TEST_CASE("the pool has each eligible item once, with all that offered it, in the order of scores") {
  ruleset rules;
  query asked;
  asked.exclude = {"x"};
  eligibility eligible{rules, asked, true};
  auto items = snapshot_of({card("a")});
  candidate_pool pool{items, eligible};
  std::string a = "a", b = "b", c = "c", x = "x";

  CHECK(pool.offer(b, candidate_source::recent, 1));
  CHECK(pool.offer(a, candidate_source::trending, 2));
  CHECK(pool.offer(b, candidate_source::nearest, 9));
  CHECK(pool.offer(c, candidate_source::popular, 2));
  CHECK(!pool.offer(x, candidate_source::nearest));
  CHECK(!pool.offer(x, candidate_source::recent));

  CHECK(pool.offered() == 6);
  pool.sort();
  REQUIRE(pool.all.size() == 3);
  CHECK(pool.all[0].item == "a");
  REQUIRE(pool.all[0].about);
  CHECK(pool.all[0].about->title == "Title of a");
  CHECK(pool.all[1].item == "c");
  CHECK(!pool.all[1].about);
  CHECK(pool.all[2].sources.names() == std::vector<std::string>{"nearest", "recent"});
}

TEST_CASE("what explains a candidate is in the answer only where it is asked for") {
  auto about = card("a");
  candidate made;
  made.item = "a";
  made.about = &about;
  made.notes = {"moved"};

  auto plain = to_ranked_item(made, 0.5, false), explained = to_ranked_item(made, 0.5, true);

  CHECK(plain.title == "Title of a");
  CHECK(plain.propensity == 0.5);
  CHECK(plain.notes.empty());
  CHECK(explained.notes == made.notes);
}
