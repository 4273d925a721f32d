#include "services/ranker/release/item_filters.hpp"

#include "services/ranker/test_releases.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

TEST_CASE("the bits of a filter are those of the snapshot that is asked, and pages that did not change keep "
          "theirs") {
  constexpr std::uint32_t many = 600;
  std::string names;
  for (std::uint32_t i = 0; i < many; ++i)
    names += fmt::format("filtered {}\n", many - i); // Rows stand in another order than ordinals.
  troupe::testing::temp_dir dir;
  bundle out{dir.path()};
  out.model("bpr", names,
            weights{}
                .add<float>("item_factors", "[600,1]", std::vector<float>(many, 1))
                .add<float>("item_bias", "[600]", std::vector<float>(many, 0))
                .add<float>("user_factors", "[0,1]", {}));
  out.done();
  std::vector<item_attributes> rows;
  for (std::uint32_t i = 0; i < many - 50; ++i)
    rows.push_back(card(fmt::format("filtered {}", i), {i % 3 == 0 ? "War" : "Drama"}));
  item_snapshot_ptr items = std::make_shared<const item_snapshot>(snapshot_of(rows));
  auto release = load_release(dir.path(), test_options());
  REQUIRE_MESSAGE(release, (release ? std::string{} : render(release.error())));
  attribute_predicate war{"genres", predicate_op::contains, false, "War", 0, {}}, other = war;
  other.negated = true;
  auto item = [](std::uint32_t i) { return test_space()->find(fmt::format("filtered {}", i)); };
  auto get = [&](const attribute_predicate& of, const item_snapshot_ptr& in) {
    return (*release)->filters.get(**release, of, *in);
  };
  auto check = [&](const item_bits& bits, const item_snapshot& in, bool negated) {
    for (std::uint32_t i = 1; i < many; ++i) {
      auto row = in.find(fmt::format("filtered {}", i));
      auto* genres = row ? row->find("genres") : nullptr;
      bool wanted = (genres && std::get<text_list>(*genres)[0] == "War") != negated;
      REQUIRE(bits.holds(item(i)) == wanted);
      auto at = (*release)->models[0].rows->find(item(i));
      REQUIRE((bits.rows(0)[at / 64] >> at % 64 & 1) == (wanted ? 1 : 0));
    }
  };

  auto first = get(war, items);
  check(*first, *items, false);
  CHECK(get(war, items) == first);
  check(*get(other, items), *items, true);
  std::mt19937 random{3};
  for (int i = 0; i < 10; ++i) {
    auto next = with_changes(items, {.changed = {card(fmt::format("filtered {}", random() % many),
                                                      {random() % 2 == 0 ? "War" : "Drama"})},
                                     .removed = {fmt::format("filtered {}", random() % many)}});
    check(*get(war, next), *next, false);
    check(*get(other, next), *next, true);
    check(*get(war, items), *items, false); // Of a request under way, which does not displace it.
    items = next;
  }
}

TEST_CASE(
    "filters that are asked for again stay, however many others come, and all stay within their bytes") {
  loaded_release release;
  release.space = test_space();
  auto items = snapshot_of({card("a", {"War"}), card("b")});
  auto of = [](const std::string& text) {
    return attribute_predicate{"genres", predicate_op::contains, false, text, 0, {}};
  };
  item_filters filters;
  auto war = filters.get(release, of("War"), items);
  auto bound = 5 * war->bytes() + 1;
  item_filters few{bound};
  auto war_of_few = few.get(release, of("War"), items);

  for (std::size_t i = 0; i < 2 * item_filters::most; ++i) {
    filters.get(release, of(std::to_string(i)), items);
    few.get(release, of(std::to_string(i)), items);
    REQUIRE(filters.get(release, of("War"), items) == war);
    REQUIRE(few.get(release, of("War"), items) == war_of_few);
    REQUIRE(few.bytes() <= bound);
  }

  CHECK(filters.bytes() == item_filters::most * war->bytes());
  CHECK(few.bytes() == bound - 1);
}
