#include "common/core/published.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

using namespace troupe;

TEST_CASE("what was got stays as it is when another value is published") {
  published<std::string> name;
  CHECK(name.get() == nullptr);

  name.set(std::make_shared<const std::string>("old"));
  auto before = name.get();
  name.set(std::make_shared<const std::string>("new"));

  CHECK(*before == "old");
  CHECK(*name.get() == "new");
  CHECK(before.use_count() == 1);
}

TEST_CASE("readers see whole values in the order they were published") {
  struct pair {
    std::size_t left, right;
  };
  published<pair> both{std::make_shared<const pair>(pair{0, 0})};
  constexpr std::size_t last = 20'000;
  std::atomic<int> wrong = 0;

  std::vector<std::jthread> readers;
  for (int i = 0; i < 3; ++i)
    readers.emplace_back([&] {
      for (std::size_t seen = 0; seen < last;) {
        auto got = both.get();
        if (got->left != got->right || got->left < seen)
          ++wrong;
        seen = got->left;
      }
    });
  for (std::size_t i = 1; i <= last; ++i)
    both.set(std::make_shared<const pair>(pair{i, i}));
  readers.clear();

  CHECK(wrong == 0);
}
