#include "services/ranker/items/predicate.hpp"

#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

TEST_CASE("a compiled predicate holds for an item exactly where the plain one holds for its attribute") {
  std::mt19937 random{7};
  auto word = [&] { return std::string{"w"} + std::to_string(random() % 4); };
  auto words = [&] {
    text_list out;
    for (auto n = random() % 4; n > 0; --n)
      out.push_back(word());
    return out;
  };
  auto value = [&]() -> attribute_value {
    switch (random() % 5) {
    case 0:
      return word();
    case 1:
      return static_cast<double>(random() % 3);
    case 2:
      return random() % 2 == 0;
    case 3:
      return std::string{};
    default:
      return words();
    }
  };
  std::vector<item_attributes> rows;
  for (int i = 0; i < 400; ++i) {
    auto& row = rows.emplace_back();
    row.id = "predicate " + std::to_string(i);
    for (auto* name : {"a", "b"})
      if (random() % 3 != 0)
        row.attributes.push_back({name, value()});
  }
  auto items = snapshot_of(rows);
  int held = 0;
  for (int i = 0; i < 500; ++i) {
    attribute_predicate plain;
    plain.attribute = std::array{"a", "b", "nobody has it"}[random() % 3];
    plain.op = static_cast<predicate_op>(random() % 5);
    plain.negated = random() % 2 == 0;
    plain.text = random() % 6 == 0 ? "" : random() % 6 == 0 ? "w" : random() % 6 == 0 ? "unheard" : word();
    plain.number = static_cast<double>(random() % 3);
    if (random() % 2 == 0 || plain.op == predicate_op::one_of)
      plain.list = words();
    compiled_predicate compiled{plain, items};
    for (auto& row : rows) {
      auto item = test_space()->find(row.id);
      auto wanted = plain.holds(row.find(plain.attribute));
      held += wanted;
      REQUIRE(compiled.holds(items.page_of(item), item_snapshot::row_of(item)) == wanted);
    }
    REQUIRE(compiled.holds(nullptr, 0) == plain.holds(nullptr));
  }
  CHECK(held > 1000);
}
