#include "services/feature_store/training/sorted_rows.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

using namespace troupe;
using namespace troupe::feature_store;

TEST_CASE("rows come back in the order of their places, from memory of any size") {
  for (std::size_t memory : {std::size_t{1}, std::size_t{5'000}, std::size_t{10} << 20}) {
    CAPTURE(memory);
    testing::temp_dir folder;
    std::mt19937 random{4};
    std::map<replay_place, std::string> all;
    {
      auto left = row_sorter::open(folder.path(), 1 << 20);
      REQUIRE(left);
      REQUIRE(left->add({1, 2, 3, 4, 5, 6}, "of a build that was killed"));
      REQUIRE(left->finish());
    }
    auto rows = row_sorter::open(folder.path(), memory);
    REQUIRE(rows);
    for (int i = 0; i < 500; ++i) {
      auto below = [&](unsigned end) { return static_cast<std::int64_t>(random() % end); };
      replay_place at{below(20) - 10, below(2), below(3), below(3), below(3), below(3)};
      std::string payload(random() % 40, static_cast<char>('a' + i % 26));
      if (all.emplace(at, payload).second)
        REQUIRE(rows->add(at, payload));
    }
    CHECK(*rows->finish() == all.size());

    auto sorted = sorted_rows::open(folder.path());
    REQUIRE(sorted);
    for (auto& [place, payload] : all) {
      REQUIRE(*sorted->next());
      CHECK(sorted->place() == place);
      CHECK(sorted->payload() == payload);
      CHECK(reinterpret_cast<std::uintptr_t>(sorted->payload().data()) % 8 == 0);
    }
    CHECK(!*sorted->next());
  }
}

TEST_CASE("a file of rows that ends within one is named, wherever it ends") {
  for (std::uintmax_t size : {1, 47, 56, 63, 64, 127}) { // A row here: 56 bytes and a payload of eight.
    CAPTURE(size);
    testing::temp_dir folder;
    auto rows = row_sorter::open(folder.path(), 1 << 20);
    REQUIRE(rows);
    for (std::int64_t i = 0; i < 2; ++i)
      REQUIRE(rows->add({i, 0, 0, 0, 0, 0}, "12345678"));
    REQUIRE(rows->finish());
    CHECK(*size_of_rows(folder.path()) == 128);
    std::filesystem::resize_file(folder / "rows-00000", size);
    auto sorted = sorted_rows::open(folder.path());
    REQUIRE(sorted);

    for (std::uintmax_t whole = 0; whole < size / 64; ++whole)
      CHECK(*sorted->next());
    auto next = sorted->next();

    if (size % 64 == 0) {
      CHECK(!*next); // Told by size_of_rows.
    } else {
      REQUIRE(!next);
      CHECK(next.error().code == ec::corrupt);
      CHECK(next.error().text.starts_with((folder / "rows-00000").string()));
    }
  }
}

TEST_CASE("a sorter without rows has none, and a folder that cannot be written is named") {
  testing::temp_dir folder;
  auto rows = row_sorter::open(folder.path(), 1 << 20);
  REQUIRE(rows);
  CHECK(*rows->finish() == 0);
  CHECK(!*sorted_rows::open(folder.path())->next());

  auto gone = row_sorter::open(folder / "not there", 1 << 20);
  CHECK(!gone);
}
