#include "common/artefact/canonical.hpp"

#include <doctest/doctest.h>

using namespace troupe;

namespace {

expected<std::string> make_canonical(std::string_view text) {
  return artefact::parse(text).map(artefact::canonical);
}

} // namespace

TEST_CASE("the canonical text of JSON does not depend on order and blanks") {
  auto one = make_canonical(R"({ "b" : [1, 2.50, {"z":null,"a":true}], "a": "\u00fc\"" })");
  auto other = make_canonical(R"({"a":"ü\"","b":[1,2.5,{"a":true,"z":null}]})");

  REQUIRE(one.has_value());
  CHECK(one == other);
  CHECK(make_canonical(*one) == one);
  CHECK(make_canonical("{\"a\":").error().code == ec::invalid_argument);
  CHECK(make_canonical(std::string(1000, '[')).error().code == ec::invalid_argument);
}

TEST_CASE("a SHA-256 is 64 lower-case hexadecimal digits") {
  CHECK(artefact::is_sha256(std::string(64, 'a')));
  CHECK_FALSE(artefact::is_sha256(std::string(64, 'A')));
  CHECK_FALSE(artefact::is_sha256(std::string(63, 'a')));
  CHECK_FALSE(artefact::is_sha256("../" + std::string(61, 'a')));
}
