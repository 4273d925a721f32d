#include "services/ranker/release/item_binding.hpp"

#include "services/ranker/test_releases.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

constexpr int many = 700;

std::string id_of(std::size_t item) {
  return "bound " + std::to_string(item);
}

/// Factors for 700 items, a network that is told of clicks, and rules that mean some of them.
release_ptr bound_release() {
  troupe::testing::temp_dir dir;
  make_dcn_release(dir.path());
  bundle made{dir.path()};
  std::string names;
  for (std::size_t i = 0; i < many; ++i)
    names += id_of(i) + "\n";
  made.model("bpr", names,
             weights{}
                 .add<float>("item_factors", "[700,1]", std::vector<float>(many, 1))
                 .add<float>("item_bias", "[700]", std::vector<float>(many, 0))
                 .add<float>("user_factors", "[0,1]", {}));
  made.model(
      "dcn", six_items,
      weights{}
          .add<float>("number.mean", "[1]", {0})
          .add<float>("number.deviation", "[1]", {2})
          .add<float>("cross.0.weight", "[2,2]", {0, 0, 0, 0})
          .add<float>("cross.0.bias", "[2]", {0, 0})
          .add<float>("deep.0.weight", "[1,2]", {0, 0})
          .add<float>("deep.0.bias", "[1]", {0})
          .add<float>("head.weight", "[1,3]", {1, 1, 1})
          .add<float>("head.bias", "[1]", {0}),
      1,
      boost::json::parse(R"({"features":[{"name":"item_activity.clicks","entity":"item","kind":"number"}]})")
          .as_object());
  made.put("rules.toml", "[[rule]]\nkind = 'filter'\nattribute = 'genres'\nop = 'contains'\ntext = 'Horror'\n"
                         "[[rule]]\nkind = 'boost'\nattribute = 'genres'\nop = 'contains'\ntext = 'War'\n");
  made.done();
  auto loaded = load_release(dir.path(), test_options());
  REQUIRE_MESSAGE(loaded, (loaded ? std::string{} : render(loaded.error())));
  return *loaded;
}

void check_same(const item_binding& a, const item_binding& b, std::size_t width) {
  CHECK(std::ranges::equal(a.allowed(0), b.allowed(0)));
  for (std::size_t i = 0; i < many; ++i) {
    auto item = test_space()->find(id_of(i));
    REQUIRE(a.filtered(item) == b.filtered(item));
    REQUIRE(a.meant(1, item) == b.meant(1, item));
    auto *of_a = a.input(1, width, item), *of_b = b.input(1, width, item);
    REQUIRE((of_a == nullptr) == (of_b == nullptr));
    if (of_a)
      REQUIRE(std::equal(of_a, of_a + width, of_b));
  }
}

} // namespace

TEST_CASE("a binding that takes what it can from the one before is the one that is made anew") {
  auto release = bound_release();
  auto width = release->models[1].scorer->input_width();
  std::mt19937 random{5};
  auto any_row = [&] {
    auto row = card(id_of(random() % many), {std::array{"War", "Horror", "Drama"}[random() % 3]});
    row.hidden = random() % 4 == 0;
    row.expires = static_cast<std::int64_t>(random() % 3 * 20);
    if (random() % 3 != 0)
      row.features = {static_cast<double>(random() % 9)};
    return row;
  };
  std::vector<item_attributes> rows;
  for (int i = 0; i < 300; ++i)
    rows.push_back(any_row());
  item_snapshot_ptr items = std::make_shared<const item_snapshot>(
      test_space(), rows, snapshot_origin{{}, {"item_activity.clicks"}, {}, {}});
  auto before = std::make_unique<item_binding>(*release, *items, 10, nullptr);
  for (std::int64_t now = 11; now < 50; now += 2) {
    items = with_changes(items, {.changed = {any_row(), any_row()}, .removed = {id_of(random() % many)}});

    auto next = std::make_unique<item_binding>(*release, *items, now, before.get());

    check_same(*next, item_binding{*release, *items, now, nullptr}, width);
    before = std::move(next);
  }
  // The clock was put back: what had expired has not.
  item_binding earlier{*release, *items, 5, before.get()};
  check_same(earlier, item_binding{*release, *items, 5, nullptr}, width);
}

TEST_CASE("a release keeps its binding to the newest items, and who asks with others does not displace it") {
  auto release = bound_release();
  auto old = std::make_shared<const item_snapshot>(snapshot_of({card(id_of(1))}));
  auto now = with_changes(old, {.changed = {card(id_of(2))}, .removed = {}});
  auto own = with_changes(now, {.changed = {card(id_of(3))}, .removed = {}, .passing = true});

  auto first = release->bindings.get(*release, *old, 10), newest = release->bindings.get(*release, *now, 10);

  CHECK(release->bindings.get(*release, *old, 11) == first); // Of requests under way.
  CHECK(release->bindings.get(*release, *own, 10)->snapshot() == own->number());
  CHECK(release->bindings.get(*release, *now, 12) == newest);
}
