#include "services/ranker/ranking/candidate.hpp"

#include "services/ranker/ranking/exploration.hpp"
#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

struct pool_fixture {
  loaded_release release;
  item_snapshot items = snapshot_of({card("a")});
  query asked;
  ranking_scratch room;

  pool_fixture() { release.space = test_space(); }
  item_ord item(const char* id) { return test_space()->add(id); }
};

} // namespace

TEST_CASE_FIXTURE(pool_fixture,
                  "the pool has each eligible item once, with all that offered it, in the order of scores") {
  auto a = item("a"), b = item("b"), c = item("c"), x = item("x");
  asked.exclude = {"x"};
  ranking_state state{release, items, asked, room, true};
  auto& pool = state.pool;

  CHECK(pool.offer(b, candidate_source::recent, 1));
  CHECK(pool.offer(a, candidate_source::trending, 2));
  CHECK(pool.offer(b, candidate_source::nearest, 9));
  CHECK(pool.offer(c, candidate_source::popular, 2));
  CHECK(!pool.offer(x, candidate_source::nearest));
  CHECK(!pool.offer(x, candidate_source::recent));

  CHECK(pool.offered() == 6);
  pool.sort();
  REQUIRE(pool.all.size() == 3);
  CHECK(pool.all[0].item == a);
  CHECK(pool.all[1].item == c);
  CHECK(pool.all[2].sources.names() == std::vector<std::string>{"nearest", "recent"});
  CHECK(pool.has(a));
  CHECK(!pool.has(x));
  CHECK(pool.shortage().considered == 4);
  CHECK(pool.take(0).item == a);
  CHECK(pool.shortage().considered == 4);
}

TEST_CASE_FIXTURE(pool_fixture,
                  "the best are sorted alone where no more are needed, and the rest when they are") {
  std::vector<item_ord> all;
  for (int i = 0; i < 100; ++i)
    all.push_back(item(("sorted " + std::to_string(i)).c_str()));
  ranking_state state{release, items, asked, room, true};
  for (std::size_t i = 0; i < all.size(); ++i)
    state.pool.offer(all[i], candidate_source::recent, static_cast<double>(i * 37 % 100));

  state.pool.sort_first(10);

  for (std::size_t i = 0; i < 10; ++i)
    CHECK(state.pool.all[i].score == 99.0 - static_cast<double>(i));
  state.pool.sort_rest();
  for (std::size_t i = 0; i < 100; ++i)
    CHECK(state.pool.all[i].score == 99.0 - static_cast<double>(i));
}

TEST_CASE_FIXTURE(pool_fixture,
                  "an item that the request names and nobody knows is one for this request alone") {
  asked.candidates = {"nobody knows this", "a", "nobody knows this"};
  auto limit = test_space()->limit();
  ranking_state state{release, items, asked, room, true};

  auto own = room.names.add("nobody knows this");

  CHECK(index_of(own) >= limit);
  CHECK(room.names.add("nobody knows this") == own);
  CHECK(room.names.id(own) == "nobody knows this");
  CHECK(state.pool.offer(own, candidate_source::request));
  CHECK(state.eligible.reason_against(own).empty());
  CHECK(test_space()->find("nobody knows this") == no_item);
}

TEST_CASE_FIXTURE(pool_fixture, "what explains a candidate is in the answer only where it is asked for") {
  auto told = [&](bool explain) {
    asked.explain = explain;
    ranking_state state{release, items, asked, room, true};
    state.pool.offer(item("a"), candidate_source::recent, 1);
    if (explain)
      room.told[0].notes.emplace_back("moved");
    return to_ranked_item(state.pool.all[0], 0.5, state);
  };

  auto plain = told(false), explained = told(true);

  CHECK(plain.title == "Title of a");
  CHECK(plain.propensity == 0.5);
  CHECK(plain.notes.empty());
  CHECK(explained.notes == std::vector<std::string>{"moved"});
}
