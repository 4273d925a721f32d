#include "services/ranker/ranking/candidate_sources.hpp"

#include "services/ranker/test_releases.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

/// The items that a release with these sources gathers, with their sources.
std::map<std::string, std::vector<std::string>> gathered(const std::string& sources,
                                                         const item_snapshot& items, const query& asked) {
  troupe::testing::temp_dir dir;
  make_release(dir.path(), "[candidates]\nsources = [" + sources + "]\n");
  auto release = load_release(dir.path(), test_options());
  REQUIRE_MESSAGE(release, (release ? std::string{} : render(release.error())));
  ranking_scratch room;
  ranking_state state{**release, items, asked, room, true};
  ranking_state* all[]{&state};
  plan_nearest(state);
  search_nearest(all);
  gather_candidates(state);
  std::map<std::string, std::vector<std::string>> out;
  for (auto& each : state.pool.all)
    out[std::string{room.names.id(each.item)}] = each.sources.names();
  return out;
}

using names = std::vector<std::string>;

query of_history(const std::vector<std::string>& history) {
  query out;
  out.user = "u";
  out.known = known_user(history);
  out.n = 1;
  return out;
}

item_attributes created(std::string id, std::int64_t when) {
  auto out = card(std::move(id));
  out.created = when;
  return out;
}

} // namespace

TEST_CASE("the source `recent` gives the items created last, without those that may not be shown") {
  auto hidden = created("hidden", 9);
  hidden.hidden = true;
  auto items = snapshot_of(
      {created("old", 1), created("newest", 8), created("undated", 0), created("new", 7), hidden});

  auto got = gathered("{name = 'recent', n = 2}", items, of_history({"c"}));

  CHECK(got["newest"] == names{"recent"});
  CHECK(got["new"] == names{"recent"});
  CHECK(!got.contains("old"));
  CHECK(!got.contains("undated"));
  CHECK(!got.contains("hidden"));
}

TEST_CASE("each source gives its own, and what several give says all of them") {
  auto trending = card("a");
  trending.trend = 3;
  auto items = snapshot_of({trending});

  auto got = gathered("{name = 'item-to-item', n = 1}, {name = 'trending', n = 5}, {name = 'popular', n = 1}",
                      items, of_history({"c"}));

  CHECK(got == std::map<std::string, names>{{"d", {"item-to-item"}}, {"a", {"trending", "popular"}}});
}

TEST_CASE("candidates of the request stand alone, and a stranger gets popular ones as well") {
  auto asked = of_history({});
  asked.candidates = {"f", "elsewhere"};
  CHECK(gathered("{name = 'trending', n = 5}", {}, asked) ==
        std::map<std::string, names>{{"f", {"request"}}, {"elsewhere", {"request"}}});

  auto stranger = gathered("{name = 'trending', n = 5}", {}, of_history({}));
  CHECK(stranger.size() == 6);
  CHECK(stranger["a"] == names{"popular"});
}
