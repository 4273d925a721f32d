#include "common/model/item_index.hpp"

#include "common/model/kernels.hpp"

#include <doctest/doctest.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

using namespace troupe;
using namespace troupe::model;

namespace {

/// Random vectors; clustered ones lie about twenty centres, some of them farther out.
std::vector<float> draw(std::mt19937& random, std::size_t count, std::size_t width, bool clustered) {
  std::normal_distribution<float> normal;
  std::mt19937 shared{9};
  std::vector<float> centres(20 * width), out;
  for (auto& each : centres)
    each = normal(shared);
  for (std::size_t i = 0; i < count; ++i) {
    auto centre = random() % 20 * width;
    auto length = 1 + std::abs(normal(random)) / 3;
    for (std::size_t d = 0; d < width; ++d)
      out.push_back(clustered ? length * (centres[centre + d] + normal(random) / 2) : normal(random));
  }
  return out;
}

/// A bitmap with about one row of `share`; all rows: none.
std::vector<std::uint64_t> one_of(std::mt19937& random, std::size_t share, std::size_t count) {
  std::vector<std::uint64_t> out(share == 1 ? 0 : (count + 63) / 64);
  for (std::size_t row = 0; row < count && share > 1; ++row)
    if (random() % share == 0)
      out[row / 64] |= std::uint64_t{1} << row % 64;
  return out;
}

std::vector<item_index::hit> plainly(const std::vector<float>& items, std::span<const float> query,
                                     std::size_t most, std::span<const std::uint64_t> allowed) {
  std::vector<item_index::hit> out;
  for (std::uint32_t row = 0; row < items.size() / query.size(); ++row)
    if (allowed.empty() || (allowed[row / 64] >> row % 64 & 1) != 0)
      out.emplace_back(row, dot(&items[row * query.size()], query.data(), query.size()));
  std::ranges::sort(
      out, [](auto& a, auto& b) { return a.second != b.second ? a.second > b.second : a.first < b.first; });
  out.resize(std::min(most, out.size()));
  return out;
}

std::vector<std::vector<item_index::hit>> search(const item_index& index, std::span<const float> queries,
                                                 std::size_t width, std::size_t most,
                                                 std::span<const std::uint64_t> allowed) {
  std::vector<std::vector<item_index::hit>> found(queries.size() / width);
  std::vector<item_index::query> of;
  for (std::size_t q = 0; q < found.size(); ++q)
    of.push_back({queries.subspan(q * width, width), most, allowed, &found[q]});
  index.search(of);
  return found;
}

} // namespace

TEST_CASE("the index finds the greatest dot products, best first") {
  auto index = item_index::build({1, 0, 0, 1, 2, 2, -1, 0}, 2, 100);
  REQUIRE(index);
  CHECK(index->exact());
  std::vector<float> query{1, 0.5f};

  auto hits = search(*index, query, 2, 2, {})[0], all = search(*index, query, 2, 9, {})[0];

  REQUIRE(hits.size() == 2);
  CHECK(hits[0] == item_index::hit{2, 3.0f});
  CHECK(hits[1] == item_index::hit{0, 1.0f});
  CHECK(all.size() == 4);
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

TEST_CASE("a scan finds what looking at each vector finds, filtered or not, by every instruction set") {
  std::mt19937 random{7};
  constexpr std::size_t most = 100, asked = 6;
  for (auto target : hwy::SupportedAndGeneratedTargets())
    for (bool clustered : {false, true})
      for (std::size_t width : {16, 33, 65})
        for (std::size_t share : {1, 3, 200}) {
          auto items = draw(random, 3'001, width, clustered), queries = draw(random, asked, width, clustered);
          hwy::SetSupportedTargetsForTest(target);
          auto index = item_index::build(items, width, 3'001);
          REQUIRE(index);
          auto allowed = one_of(random, share, 3'001);

          auto found = search(*index, queries, width, most, allowed);

          INFO(hwy::TargetName(target) << ", width " << width << ", one of " << share);
          for (std::size_t q = 0; q < asked; ++q)
            CHECK(found[q] == plainly(items, {&queries[q * width], width}, most, allowed));
          hwy::SetSupportedTargetsForTest(0);
        }
}

TEST_CASE("a scan finds what it must among equal, huge, tiny and no numbers") {
  std::vector<float> ordinary{1, 0, 2, 1, -1, 3, 0, 0}, equal(2'000, 1),
      huge{1e38f, 1e38f, -1e38f, 1, 1e37f, 1}, tiny{1e-38f, 0, 2e-38f, 0, 3e-38f, 0};
  for (auto& items : {ordinary, equal, huge, tiny})
    for (auto query : {std::vector<float>{0, 0}, {1, 0.5f}, {1e30f, -1}, {1e-38f, 0}, {5e-41f, 1e-41f}}) {
      auto index = item_index::build(items, 2, 1'000);
      REQUIRE(index);

      CHECK(search(*index, query, 2, 3, {})[0] == plainly(items, query, 3, {}));
    }
}

TEST_CASE("a query that holds no number finds products that are none last, in the order of their rows") {
  constexpr auto infinite = std::numeric_limits<float>::infinity(),
                 none = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> items{0, 1, 1, 0, 0, 2, -1, 0, 2, 0}; // Two numbers a row.
  for (std::size_t flat_up_to : {1'000, 1}) {
    auto index = item_index::build(items, 2, flat_up_to);
    REQUIRE(index);

    CHECK(search(*index, std::vector<float>{infinite, 1}, 2, 5, {})[0] ==
          std::vector<item_index::hit>{
              {1, infinite}, {4, infinite}, {0, -infinite}, {2, -infinite}, {3, -infinite}});
    for (auto query : {std::vector<float>{none, 1}, {1, none}, {none, none}})
      CHECK(search(*index, query, 2, 3, {})[0] ==
            std::vector<item_index::hit>{{0, -infinite}, {1, -infinite}, {2, -infinite}});
  }
}

TEST_CASE("lists find nineteen of twenty of what looking at every item finds, filtered, too") {
  std::mt19937 random{8};
  constexpr std::size_t width = 32, count = 20'000, asked = 30, most = 100;
  auto items = draw(random, count, width, true), queries = draw(random, asked, width, true);
  auto exact = item_index::build(items, width, count), lists = item_index::build(items, width, 10);
  REQUIRE(exact);
  REQUIRE(lists);
  REQUIRE(!lists->exact());

  for (std::size_t share : {1, 10, 100}) {
    auto allowed = one_of(random, share, count);
    auto truth = search(*exact, queries, width, most, allowed),
         found = search(*lists, queries, width, most, allowed);
    std::size_t right = 0;
    for (std::size_t q = 0; q < asked; ++q)
      for (auto& each : found[q])
        right += std::ranges::find(truth[q], each) != truth[q].end() ? 1 : 0;
    INFO("one of " << share);
    CHECK(right >= asked * most * 95 / 100);
  }
}
