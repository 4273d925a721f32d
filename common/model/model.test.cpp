#include "common/model/positive.hpp"
#include "common/model/scorer.hpp"
#include "common/model/test_weights.hpp"
#include "common/tensor/safetensors.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace troupe;
using namespace troupe::model;

namespace {

using writer = model::testing::test_weights;

std::vector<float> scores(const scorer& by, const user_context& context, std::vector<row> candidates) {
  std::vector<float> out(candidates.size());
  by.score(context, candidates, out);
  return out;
}

} // namespace

TEST_CASE("a vocabulary finds ids and refuses one that stands twice") {
  auto items = vocabulary::parse("a\nb\nc\n", "items.txt");
  REQUIRE(items);
  CHECK(items->size() == 3);
  CHECK(items->id(1) == "b");
  CHECK(items->find("c") == row{2});
  CHECK(!items->find("d"));
  CHECK(!vocabulary::parse("a\nb\na\n", "items.txt"));
  CHECK(!vocabulary::parse("a\n\nb\n", "items.txt"));
}

TEST_CASE(
    "popularity and neighbours score as counted by hand, and say which item of the history weighed most") {
  auto popular = load_popularity(writer{}.add<float>("item_score", "[3]", {5, 1, 3}).done());
  REQUIRE(popular);
  CHECK(scores(**popular, {}, {2, 0}) == std::vector<float>{3, 5});

  auto near = load_neighbours(writer{}
                                  .add<std::int32_t>("neighbours", "[4,2]", {1, 2, 0, 2, 1, 3, 2, -1})
                                  .add<float>("similarity", "[4,2]", {0.5f, 0.25f, 0.5f, 1, 2, 0.125f, 4, 9})
                                  .done());
  REQUIRE(near);
  user_context context{{0, 1, 0}, {}, {}, {}};
  CHECK(scores(**near, context, {2, 3, 0, 1}) == std::vector<float>{1.25f, 0, 0.5f, 0.5f});
  std::vector<reason> why(4), like;
  (*near)->attributions(context, std::vector<row>{3, 2}, 2, why);
  CHECK(why[0].weight == 0); // Nothing leads to item 3.
  CHECK(why[2].item == 1);
  CHECK(why[2].weight == 1.0);
  CHECK(why[3].item == 0);
  CHECK(why[3].weight == 0.25);
  (*near)->similar_items(2, 1, like);
  REQUIRE(like.size() == 1);
  CHECK(like[0].item == 1);
  CHECK(!load_neighbours(
      writer{}.add<std::int32_t>("neighbours", "[1,1]", {1}).add<float>("similarity", "[1,1]", {1}).done()));
}

TEST_CASE("iALS solves for a user from the history, and its reasons add up to the score") {
  // Items (1,0), (0,1), (1,1): gram [[2,1],[1,2]]; alpha 1, regularization 1, history {0}:
  // ([[2,1],[1,2]] + [[1,0],[0,0]] + I) x = (1,0), so x = (3,-1) / 11.
  auto model = load_ials(writer{}
                             .add<float>("item_factors", "[3,2]", {1, 0, 0, 1, 1, 1})
                             .add<float>("user_factors", "[1,2]", {3, 4})
                             .add<float>("gram", "[2,2]", {2, 1, 1, 2})
                             .done(),
                         {1, 1});
  REQUIRE(model);
  auto got = scores(**model, user_context{{0}, {}, {}, {}}, {0, 1, 2});
  CHECK(got[0] == doctest::Approx(3.0 / 11));
  CHECK(got[1] == doctest::Approx(-1.0 / 11));
  CHECK(got[2] == doctest::Approx(2.0 / 11));
  CHECK(scores(**model, user_context{{}, row{0}, {}, {}}, {2}) == std::vector<float>{7});
  CHECK(scores(**model, {}, {2}) == std::vector<float>{0});

  user_context two{{0, 1}, {}, {}, {}};
  double sum = 0;
  std::vector<reason> why(10);
  (*model)->attributions(two, std::vector<row>{2}, 10, why);
  for (auto& each : why)
    sum += each.weight;
  CHECK(sum == doctest::Approx(scores(**model, two, {2})[0]));
}

TEST_CASE("BPR scores a known user by the factors and a new one by the mean of the history") {
  auto model = load_bpr(writer{}
                            .add<float>("item_factors", "[2,2]", {1, 2, 3, 4})
                            .add<float>("item_bias", "[2]", {0.5f, -1})
                            .add<float>("user_factors", "[1,2]", {2, 1})
                            .done());
  REQUIRE(model);
  CHECK(scores(**model, user_context{{}, row{0}, {}, {}}, {0, 1}) == std::vector<float>{4.5f, 9});
  CHECK(scores(**model, user_context{{0, 1}, {}, {}, {}}, {0, 1}) == std::vector<float>{8.5f, 17});
  CHECK(scores(**model, {}, {0, 1}) == std::vector<float>{0.5f, -1});
}

TEST_CASE("a system that is not positive definite is refused") {
  std::vector<double> a{1, 2, 2, 1}, b{1, 1};
  CHECK(!solve_positive(a, b));
}

TEST_CASE("a solved system gives back its right side, for widths that fill vectors and that do not") {
  std::mt19937 random{3};
  std::normal_distribution<float> normal;
  for (std::size_t width : {1, 3, 8, 17, 64})
    for (std::size_t count : {1, 2, 5, 100}) {
      std::vector<float> numbers(width * count);
      std::vector<const float*> rows;
      for (auto& each : numbers)
        each = normal(random);
      for (std::size_t i = 0; i < count; ++i)
        rows.push_back(numbers.data() + i * width);
      std::vector<double> a(width * width, 0), b(width), x;
      for (std::size_t i = 0; i < width; ++i) {
        a[i * width + i] = 1;
        b[i] = normal(random);
      }
      add_outer_products(a, rows, width);
      x = b;
      REQUIRE(solve_positive(a, x));
      // (I + sum y y') x, as it stands.
      auto back = x;
      for (auto* y : rows) {
        double along = 0;
        for (std::size_t i = 0; i < width; ++i)
          along += y[i] * x[i];
        for (std::size_t i = 0; i < width; ++i)
          back[i] += along * y[i];
      }
      for (std::size_t i = 0; i < width; ++i)
        CHECK(back[i] == doctest::Approx(b[i]).epsilon(1e-9).scale(1));
    }
}
