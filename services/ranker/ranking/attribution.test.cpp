#include "services/ranker/ranking/attribution.hpp"

#include "services/ranker/test_releases.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

TEST_CASE(
    "items say which of the history weighed, but for what is not to be shown, unless the answer is long and "
    "not to be explained") {
  troupe::testing::temp_dir dir;
  make_release(dir.path(), "");
  auto release = load_release(dir.path(), test_options());
  REQUIRE(release);
  item_snapshot items;
  auto because = [&](std::uint32_t n, bool explain, std::vector<std::string_view> exclude = {}) {
    query asked;
    asked.known = known_user({"c"});
    asked.n = n;
    asked.explain = explain;
    asked.exclude = std::move(exclude);
    ranking_scratch room;
    ranking_state state{**release, items, asked, room, true};
    state.answer.items.resize(1);
    state.answer.items[0].item = "d";
    attribute_to_history(state);
    auto& of = state.answer.items[0].because;
    return std::vector<std::string_view>(of.begin(), of.end());
  };

  CHECK(because(10, false) == std::vector<std::string_view>{"c"});
  CHECK(because(51, false).empty());
  CHECK(because(51, true) == std::vector<std::string_view>{"c"});
  CHECK(because(10, false, {"c"}).empty());
  for (bool item_attributes::*mark : {&item_attributes::hidden, &item_attributes::deleted}) {
    auto gone = card("c");
    gone.*mark = true;
    items = snapshot_of({gone});
    CHECK(because(10, false).empty());
  }
}
