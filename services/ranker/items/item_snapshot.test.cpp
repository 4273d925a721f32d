#include "services/ranker/items/item_snapshot.hpp"

#include "services/ranker/test_releases.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

namespace {

/// What two snapshots with the same items must have in common.
void check_same(const item_snapshot& a, const item_snapshot& b, const std::vector<std::string>& ids) {
  CHECK(a.size() == b.size());
  for (auto& id : ids) {
    auto of_a = a.find(id), of_b = b.find(id);
    REQUIRE(of_a.has_value() == of_b.has_value());
    if (!of_a)
      continue;
    CHECK(of_a->title == of_b->title);
    CHECK(of_a->closed(50) == of_b->closed(50));
    CHECK(of_a->trend == of_b->trend);
    CHECK(of_a->created == of_b->created);
    CHECK(of_a->features == of_b->features);
    REQUIRE(of_a->attributes.size() == of_b->attributes.size());
    for (auto& each : of_a->attributes)
      CHECK(*of_b->find(each.name) == each.value);
  }
  CHECK(std::ranges::equal(a.trending(), b.trending()));
  CHECK(std::ranges::equal(a.recent(), b.recent()));
  CHECK(std::ranges::equal(a.expiring(), b.expiring(),
                           [](auto& x, auto& y) { return x.when == y.when && x.item == y.item; }));
}

} // namespace

TEST_CASE("a snapshot gives back the rows it was made of, whatever their attributes are") {
  item_attributes row;
  row.id = "everything";
  row.title = "Title";
  row.expires = 7;
  row.created = 3;
  row.trend = 1.5;
  row.attributes = {{"genres", text_list{"War", "Drama"}},
                    {"brand", std::string{"Acme"}},
                    {"price", 2.5},
                    {"new", true},
                    {"none", text_list{}}};
  row.features = {attribute_value{4.0}, std::nullopt, attribute_value{std::string{"x"}}};

  item_snapshot made{test_space(), {row, card("other")}, {{}, {"v.a", "v.b", "v.c"}, {}, {}}};

  auto got = made.find("everything");
  REQUIRE(got);
  CHECK(got->title == "Title");
  CHECK(got->attributes == row.attributes);
  CHECK(got->features == row.features);
  CHECK(got->closed(6).empty());
  CHECK(got->closed(7) == "expired");
  auto item = test_space()->find("everything");
  CHECK(made.closed(item, 7) == "expired");
  CHECK(made.title(item) == "Title");
  CHECK(made.words(*made.attribute_column("genres"), item).size() == 2);
  CHECK(made.word(made.words(*made.attribute_column("genres"), item)[1]) == "Drama");
  CHECK(made.words(*made.attribute_column("brand"), item).empty());
  CHECK(!made.attribute_column("colour"));
  CHECK(!made.find("nobody"));
  CHECK(!item_snapshot{}.find("everything"));
  CHECK(made.closed(no_item, 7).empty());
}

TEST_CASE(
    "a snapshot with changes is the one that is made of all rows anew, and the old one stays as it was") {
  std::mt19937 random{11};
  auto space = std::make_shared<item_space>();
  std::vector<std::string> ids;
  for (int i = 0; i < 1000; ++i)
    ids.push_back("item " + std::to_string(i));
  std::map<std::string, item_attributes> now;
  auto any_row = [&](const std::string& id) {
    auto row = card(id, {std::to_string(random() % 5), std::to_string(random() % 5)});
    row.title += std::to_string(random() % 100);
    row.hidden = random() % 5 == 0;
    row.deleted = random() % 7 == 0;
    row.trend = static_cast<double>(random() % 10);
    row.created = static_cast<std::int64_t>(random() % 10);
    row.expires = static_cast<std::int64_t>(random() % 4 * 40);
    if (random() % 3 == 0)
      row.attributes.push_back({"extra " + std::to_string(random() % 3), 1.0});
    row.features = {static_cast<double>(random() % 9)};
    return row;
  };
  auto whole = [&] {
    std::vector<item_attributes> rows;
    for (auto& [id, row] : now)
      rows.push_back(row);
    return item_snapshot{space, rows, {{}, {"v.f"}, {}, {}}};
  };
  for (int i = 0; i < 600; ++i)
    now[ids[static_cast<std::size_t>(i)]] = any_row(ids[static_cast<std::size_t>(i)]);
  auto first = whole();
  auto kept = std::make_shared<const item_snapshot>(first);
  item_snapshot_ptr step = kept;
  for (int round = 0; round < 20; ++round) {
    item_changes by;
    for (int i = 0; i < 10; ++i) {
      auto& id = ids[random() % ids.size()];
      now[id] = any_row(id);
      by.changed.push_back(now[id]);
    }
    auto& gone = ids[random() % ids.size()];
    if (std::ranges::none_of(by.changed, [&](auto& each) { return each.id == gone; })) {
      now.erase(gone);
      by.removed.push_back(gone);
    }

    step = with_changes(step, by);

    check_same(*step, whole(), ids);
  }
  check_same(*kept, first, ids);
}

TEST_CASE("changes copy the pages of the items they name, and share the others") {
  auto space = std::make_shared<item_space>();
  std::vector<item_attributes> rows;
  for (int i = 0; i < 1000; ++i)
    rows.push_back(card(std::to_string(i)));
  auto base = std::make_shared<const item_snapshot>(space, rows, snapshot_origin{});

  auto next = with_changes(base, {{card("300", {"War"})}, {}});

  CHECK(next->pages()[0] == base->pages()[0]);
  CHECK(next->pages()[1] != base->pages()[1]);
  CHECK(next->pages()[2] == base->pages()[2]);
  CHECK(next->taken() == base->taken());
}

TEST_CASE("a list that is as long as it may be stays in order through changes, and is made anew when it has "
          "lost much") {
  auto space = std::make_shared<item_space>();
  std::vector<item_attributes> rows;
  auto trending = [](int i, double trend) {
    item_attributes row;
    row.id = std::to_string(i);
    row.trend = trend;
    return row;
  };
  constexpr int many = 30'000;
  for (int i = 0; i < many; ++i)
    rows.push_back(trending(i, 1 + i));
  item_snapshot_ptr now = std::make_shared<const item_snapshot>(space, rows, snapshot_origin{});
  REQUIRE(now->trending().size() == item_snapshot::longest);
  item_changes weaker, gone;
  weaker.changed.push_back(trending(many - 1, 0.5)); // From the first place to behind the last.
  for (int i = many - 6000; i < many - 1; ++i)
    gone.removed.push_back(std::to_string(i));

  now = with_changes(now, weaker);
  CHECK(space->id(now->trending().front()) == std::to_string(many - 2));
  CHECK(now->trending().size() == item_snapshot::longest - 1);
  now = with_changes(now, gone);

  CHECK(now->trending().size() == item_snapshot::longest);
  CHECK(std::ranges::is_sorted(now->trending(), std::ranges::greater{},
                               [&](auto item) { return now->trend(item); }));
}

TEST_CASE("a list that was cut is the beginning of the whole one through any changes, of its last item too") {
  std::mt19937 random{7};
  auto space = std::make_shared<item_space>();
  std::map<std::string, item_attributes> rows;
  auto put = [&](std::string id) -> item_attributes& {
    auto& row = rows[id];
    row.id = std::move(id);
    row.trend = static_cast<double>(1 + random() % 100'000);
    row.created = static_cast<std::int64_t>(1 + random() % 100'000);
    return row;
  };
  auto whole = [&] {
    std::vector<item_attributes> all;
    for (auto& [id, row] : rows)
      all.push_back(row);
    return item_snapshot{space, all, {}};
  };
  for (int i = 0; i < 24'000; ++i)
    put(std::to_string(i));
  item_snapshot_ptr now = std::make_shared<const item_snapshot>(whole());
  auto check = [](std::span<const item_ord> list, std::span<const item_ord> wanted) {
    CHECK(list.size() >= item_snapshot::longest - item_snapshot::longest / 4);
    REQUIRE(list.size() <= wanted.size());
    CHECK(std::ranges::equal(list, wanted.first(list.size())));
  };
  for (int round = 0; round < 12; ++round) {
    item_changes by;
    for (int i = 0; i < 300; ++i)
      by.changed.push_back(put(std::to_string(random() % 24'000)));
    for (auto last : {now->trending().back(), now->recent().back()}) {
      auto& row = put(std::string{space->id(last)});
      row.trend += 100'000; // From the last place to the first ones.
      row.created += 100'000;
      by.changed.push_back(row);
    }

    now = with_changes(now, by);

    auto wanted = whole();
    check(now->trending(), wanted.trending());
    check(now->recent(), wanted.recent());
  }
}

TEST_CASE("numbers of texts are dense and for ever, for readers beside a writer too") {
  text_numbers numbers;
  constexpr std::uint32_t count = 20'000;
  std::atomic<bool> over{false}, wrong{false};
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r)
    readers.emplace_back([&] {
      while (!over) {
        auto size = numbers.size();
        for (std::uint32_t i = size > 50 ? size - 50 : 0; i < size; ++i)
          if (numbers.text(i) != std::to_string(i) || numbers.find(std::to_string(i)) != i)
            wrong = true;
      }
    });

  for (std::uint32_t i = 0; i < count; ++i) {
    CHECK(numbers.add(std::to_string(i)) == i);
    CHECK(numbers.add(std::to_string(i / 2)) == i / 2);
  }
  over = true;
  for (auto& each : readers)
    each.join();

  CHECK(!wrong);
  CHECK(numbers.size() == count);
  CHECK(numbers.find("nothing") == text_numbers::none);
  CHECK(numbers.add(std::string(100'000, 'x')) == count);
  CHECK(numbers.text(count).size() == 100'000);
}
