#include "common/json/identity.hpp"

#include <doctest/doctest.h>

using namespace troupe;

TEST_CASE("a name is the text or the digits that stand there, and what has no exact text is none") {
  exact_document document;
  auto named = [&](std::string_view json) {
    auto read = document.read(json);
    REQUIRE_MESSAGE(read, read.error().text);
    auto name = identity_of(*read);
    return name ? std::string{*name} : "! " + name.error().text;
  };

  CHECK(named("\"00123\"") == "00123");
  CHECK(named("12345678901234567890") == "12345678901234567890");
  CHECK(named("-170141183460469231731687303715884105728") == "-170141183460469231731687303715884105728");
  CHECK(named("100000000000000000") == "100000000000000000");
  CHECK(named("true") == "true");
  CHECK(named("null").empty());
  CHECK(named("1e17") ==
        "! 1e17 is no name: of numbers only whole ones without an exponent are; write it as a "
        "text");
  CHECK(named("1.0").starts_with("! 1.0 is no name"));
  CHECK(named("[1]") == "! it is an array, and a name is a text or a whole number");
  CHECK(named("{}") == "! it is an object, and a name is a text or a whole number");
}
