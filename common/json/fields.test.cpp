#include "common/json/fields.hpp"

#include "common/core/file.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

using namespace troupe;

namespace {

const auto document = *parse_json_object(
    R"({"name":"als","weights":{"sha256":"ab","bytes":7},"ratio":0.5,"minus":-1,"round":3.0,
        "on":true,"list":[1],"none":null,"huge":18446744073709551616.0})",
    "a test");

template <class T>
std::string text_of_error(const expected<T>& result) {
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().code == ec::corrupt);
  return result.error().text;
}

} // namespace

TEST_CASE("a member is found by its path, as the type that is wanted") {
  CHECK(text_at(document, "name") == "als");
  CHECK(text_at(document, "weights.sha256") == "ab");
  CHECK(number_at(document, "ratio") == 0.5);
  CHECK(number_at(document, "weights.bytes") == 7);
  CHECK(whole_at(document, "weights.bytes") == 7);
  CHECK(whole_at(document, "round") == 3);
  CHECK(flag_at(document, "on") == true);
  REQUIRE(object_at(document, "weights"));
  CHECK((*object_at(document, "weights"))->size() == 2);
  REQUIRE(array_at(document, "list"));
  CHECK((*array_at(document, "list"))->size() == 1);
}

TEST_CASE("a member that is missing or of another type is told by path and type") {
  CHECK(text_of_error(text_at(document, "weights.file")) == "weights.file is missing, a text is wanted");
  CHECK(text_of_error(text_at(document, "name.first")) == "name.first is missing, a text is wanted");
  CHECK(text_of_error(text_at(document, "weights.bytes")) == "weights.bytes is a number, not a text");
  CHECK(text_of_error(number_at(document, "name")) == "name is a text, not a number");
  CHECK(text_of_error(whole_at(document, "ratio")) == "ratio is a number, not a whole number");
  CHECK(text_of_error(whole_at(document, "minus")) == "minus is a number, not a whole number");
  CHECK(text_of_error(whole_at(document, "huge")) == "huge is a number, not a whole number");
  CHECK(text_of_error(flag_at(document, "none")) == "none is null, not true or false");
  CHECK(text_of_error(object_at(document, "list")) == "list is an array, not an object");
  CHECK(text_of_error(array_at(document, "on")) == "on is a flag, not an array");
}

TEST_CASE("a standard stands for what is missing or of another type") {
  CHECK(text_or(document, "name") == "als");
  CHECK(text_or(document, "weights.file", "w") == "w");
  CHECK(text_or(document, "ratio") == "");
  CHECK(number_or(document, "ratio", 1) == 0.5);
  CHECK(number_or(document, "name", 1) == 1);
  CHECK(whole_or(document, "weights.bytes", 1) == 7);
  CHECK(whole_or(document, "minus", 1) == 1);
  CHECK(flag_or(document, "on", false));
  CHECK(flag_or(document, "off", true));
  CHECK(find_object(document, "name") == nullptr);
  CHECK(find_array(document, "list") != nullptr);
  CHECK(find_value(document, "none") != nullptr);
}

TEST_CASE("a file that is no JSON object says which file") {
  testing::temp_dir dir;
  REQUIRE(write_file_atomically(dir / "good", as_bytes(R"({"a":1})")));
  REQUIRE(write_file_atomically(dir / "list", as_bytes("[1]")));
  REQUIRE(write_file_atomically(dir / "cut", as_bytes("{")));

  CHECK(read_json_object(dir / "good")->size() == 1);
  CHECK(text_of_error(read_json_object(dir / "list")) ==
        "cannot read " + (dir / "list").string() + ": it is an array, not an object");
  CHECK(text_of_error(read_json_object(dir / "cut")).starts_with("cannot read " + (dir / "cut").string()));
  CHECK(read_json_object(dir / "none").error().code == ec::not_found);
}
