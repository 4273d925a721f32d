#include "services/ranker/ranking/diversity.hpp"

#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

std::string order_of(double mmr, std::uint32_t n) {
  auto items = snapshot_of({card("a", {"War"}), card("b", {"War"}), card("c", {"Drama"})});
  loaded_release release;
  release.space = test_space();
  release.rules.mmr = mmr;
  query asked;
  asked.n = n;
  ranking_scratch room;
  ranking_state state{release, items, asked, room, true};
  for (auto* id : {"a", "b", "c"})
    state.pool.offer(test_space()->find(id), candidate_source::recent,
                     3.0 - static_cast<double>(state.pool.all.size()));
  state.pool.sort();
  diversify(state);
  std::string out;
  for (auto& each : state.pool.all)
    out += test_space()->id(each.item);
  return out;
}

} // namespace

TEST_CASE("difference weighs as much as the rules say, and nobody is lost") {
  CHECK(order_of(0, 2) == "abc");
  CHECK(order_of(0.1, 2) == "abc");
  CHECK(order_of(0.7, 2) == "acb");
}

TEST_CASE("the overlap of two lists of words is the share of them that both have") {
  std::vector<word_id> a{word_id{1}, word_id{2}}, b{word_id{1}, word_id{3}}, none;
  CHECK(word_overlap(a, b) == doctest::Approx(1.0 / 3));
  CHECK(word_overlap(a, a) == 1);
  CHECK(word_overlap(a, none) == 0);
  CHECK(word_overlap(none, a) == 0);
}
