#include "services/ranker/serving/user_features.hpp"

#include "services/ranker/test_actors.hpp"

using namespace troupe;
using namespace troupe::ranker;
using namespace troupe::ranker::testing;

TEST_CASE("the features of a user are read once: the history, values that are present, and whose they are") {
  auto got =
      decode_user_features(user_answer({"user_history.items", "user_ratings.mean_rating"}, {"a", "b"}, 4.5));

  REQUIRE(got);
  CHECK(got->history == std::vector<std::string>{"a", "b"});
  REQUIRE(got->features.size() == 2);
  CHECK(got->features[1].name == "user_ratings.mean_rating");
  CHECK(got->features[1].age_us == 50);
  REQUIRE(got->features[1].value);
  CHECK(got->values[*got->features[1].value] == attribute{"user_ratings.mean_rating", 4.5});
  CHECK(!got->deleted);
  CHECK(decode_user_features(user_answer({"user_history.items"}, {}, 0, true))->deleted);
  CHECK(!decode_user_features(chunk::own(std::string(64, 'x'))));
}

TEST_CASE("a value is shown as a person reads it, of a long list the end") {
  CHECK(value_text(std::string{"x"}) == "x");
  CHECK(value_text(2.5) == "2.5");
  CHECK(value_text(true) == "true");
  CHECK(value_text(text_list{"a", "b"}) == "a, b");
  CHECK(value_text(text_list{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}) ==
        "(2 more) 2, 3, 4, 5, 6, 7, 8, 9, 10, 11");
}
