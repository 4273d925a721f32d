#include "services/ranker/serving/user_features.hpp"

#include "services/ranker/test_actors.hpp"

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

TEST_CASE("the features of a user are read once: the history, values that are present, and whose they are") {
  auto got = decode_user_features(
      user_answer({"user_history.items", "user_ratings.mean_rating"}, {"a", "b"}, 4.5), *test_space());

  REQUIRE(got);
  CHECK(got->history.size() == 2);
  CHECK(history_text(got->history, *test_space()) == "a, b");
  REQUIRE(got->features.size() == 2);
  CHECK(got->features[1].name == "user_ratings.mean_rating");
  CHECK(got->features[1].age_us == 50);
  CHECK(got->features[1].value == attribute_value{4.5});
  CHECK(got->find("user_ratings.mean_rating") == &got->features[1]);
  CHECK(!got->find("user_ratings.other"));
  CHECK(!got->deleted);
  CHECK(decode_user_features(user_answer({"user_history.items"}, {}, 0, true), *test_space())->deleted);
  CHECK(!decode_user_features(chunk::own(std::string(64, 'x')), *test_space()));
}

TEST_CASE("a history keeps the ids of items that nobody knows yet, in their places") {
  item_space space;
  auto known = space.add("b");

  item_list history{space, std::vector<std::string>{"a", "b", "c"}};

  CHECK(history.items() == std::vector{no_item, known, no_item});
  CHECK(history.unknown() == std::vector<std::pair<std::size_t, std::string>>{{0, "a"}, {2, "c"}});
  CHECK(history_text(history, space) == "a, b, c");
  CHECK(space.limit() == 1);
}

TEST_CASE("a value is shown as a person reads it, of a long list the end") {
  CHECK(value_text(std::string{"x"}) == "x");
  CHECK(value_text(2.5) == "2.5");
  CHECK(value_text(true) == "true");
  CHECK(value_text(text_list{"a", "b"}) == "a, b");
  CHECK(value_text(text_list{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}) ==
        "(2 more) 2, 3, 4, 5, 6, 7, 8, 9, 10, 11");
}
