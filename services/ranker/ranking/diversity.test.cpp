#include "services/ranker/ranking/diversity.hpp"

#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

std::string order_of(double mmr, std::size_t n) {
  static const std::vector<item_attributes> about{card("a", {"War"}), card("b", {"War"}),
                                                  card("c", {"Drama"})};
  std::vector<candidate> pool;
  for (auto& each : about) {
    candidate made;
    made.item = each.id;
    made.about = &each;
    made.score = 3.0 - static_cast<double>(pool.size());
    pool.push_back(std::move(made));
  }
  ruleset rules;
  rules.mmr = mmr;
  std::string out;
  for (auto& each : diversify(std::move(pool), rules, n, false))
    out += each.item;
  return out;
}

} // namespace

TEST_CASE("difference weighs as much as the rules say, and nobody is lost") {
  CHECK(order_of(0, 2) == "abc");
  CHECK(order_of(0.1, 2) == "abc");
  CHECK(order_of(0.7, 2) == "acb");
}

TEST_CASE("the overlap of two lists of words is the share of them that both have") {
  text_list a{"War", "Drama"}, b{"War", "Horror"}, none;
  CHECK(word_overlap(&a, &b) == doctest::Approx(1.0 / 3));
  CHECK(word_overlap(&a, &a) == 1);
  CHECK(word_overlap(&a, &none) == 0);
  CHECK(word_overlap(&a, nullptr) == 0);
}
