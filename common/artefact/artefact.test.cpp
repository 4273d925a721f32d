#include "common/artefact/canonical.hpp"
#include "common/json/parse.hpp"

#include <boost/json/array.hpp>
#include <doctest/doctest.h>

#include <random>

using namespace troupe;

namespace {

expected<std::string> make_canonical(std::string_view text) {
  return parse_json(text).map(artefact::canonical);
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

TEST_CASE("a canonical text stays the same however often it is read and written") {
  std::mt19937_64 draw{11};
  std::uniform_real_distribution<double> share;
  boost::json::array numbers;
  for (int i = 0; i < 1'000; ++i)
    numbers.emplace_back(share(draw));
  auto first = artefact::canonical(numbers);

  CHECK(make_canonical(first) == first);
}

TEST_CASE("a SHA-256 is 64 lower-case hexadecimal digits") {
  CHECK(artefact::is_sha256(std::string(64, 'a')));
  CHECK_FALSE(artefact::is_sha256(std::string(64, 'A')));
  CHECK_FALSE(artefact::is_sha256(std::string(63, 'a')));
  CHECK_FALSE(artefact::is_sha256("../" + std::string(61, 'a')));
}
