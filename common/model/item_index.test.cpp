#include "common/model/item_index.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <random>

using namespace troupe;
using namespace troupe::model;

TEST_CASE("the index finds the greatest dot products, best first") {
  auto index = item_index::build({1, 0, 0, 1, 2, 2, -1, 0}, 2, 100);
  REQUIRE(index);
  CHECK(index->exact());
  std::vector<float> query{1, 0.5f};

  auto hits = index->search(query, 2);

  REQUIRE(hits.size() == 2);
  CHECK(hits[0] == item_index::hit{2, 3.0f});
  CHECK(hits[1] == item_index::hit{0, 1.0f});
  CHECK(index->search(query, 9).size() == 4);
  CHECK(std::ranges::equal(index->vector(2), std::vector<float>{2, 2}));
  CHECK(!item_index::build({1, 2, 3}, 2, 100));
  CHECK(!item_index::build({1, std::numeric_limits<float>::quiet_NaN()}, 2, 100));
}

TEST_CASE("searches made together find each what is allowed to it") {
  auto index = item_index::build({1, 0, 0, 1, 2, 2, -1, 0}, 2, 100);
  REQUIRE(index);
  std::vector<float> right{1, 0}, up{0, 1}, wide{1, 2, 3};
  std::vector<std::uint64_t> all_but_2{0b1011}, none{0};
  std::vector<std::vector<item_index::hit>> found(5, {{7, 7.0f}});
  std::vector<item_index::query> queries{{right, 2, {}, &found[0]},
                                         {up, 2, all_but_2, &found[1]},
                                         {up, 2, none, &found[2]},
                                         {wide, 2, {}, &found[3]},
                                         {right, 0, {}, &found[4]}};

  index->search(queries);

  CHECK(found[0] == std::vector<item_index::hit>{{2, 2.0f}, {0, 1.0f}});
  CHECK(found[1] == std::vector<item_index::hit>{{1, 1.0f}, {0, 0.0f}});
  for (std::size_t i = 2; i < found.size(); ++i)
    CHECK(found[i].empty());
}

TEST_CASE("the graph finds nine of ten of what looking at every item finds") {
  std::mt19937 random{7};
  std::normal_distribution<float> normal;
  constexpr std::size_t width = 16, count = 3000;
  std::vector<float> vectors(width * count);
  for (auto& each : vectors)
    each = normal(random);
  auto flat = item_index::build(vectors, width, count);
  auto graph = item_index::build(vectors, width, 10);
  REQUIRE(flat);
  REQUIRE(graph);
  REQUIRE(!graph->exact());

  std::size_t found = 0;
  for (int q = 0; q < 20; ++q) {
    std::vector<float> query(width);
    for (auto& each : query)
      each = normal(random);
    auto truth = flat->search(query, 50);
    for (auto& hit : graph->search(query, 50))
      found += std::any_of(truth.begin(), truth.end(), [&](auto& each) { return each.first == hit.first; });
  }

  CHECK(found >= 900);
}
