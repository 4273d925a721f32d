#include "common/json/parse.hpp"

#include <boost/json/serialize.hpp>
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <random>

using namespace troupe;
namespace json = boost::json;

TEST_CASE("every double comes back as it was written") {
  std::mt19937_64 draw{7};
  std::uniform_real_distribution<double> share;
  for (int i = 0; i < 100'000; ++i) {
    double any = std::bit_cast<double>(draw()), part = share(draw);
    for (double number : {any, part, part * 1e-7, std::floor(part * 1e15)}) {
      if (!std::isfinite(number))
        continue;
      auto text = fmt::format("{}", number);
      REQUIRE_MESSAGE(parse_json(text)->to_number<double>() == number, text);
      auto written = json::serialize(json::value(number));
      REQUIRE_MESSAGE(parse_json("[" + written + "]")->at(0).to_number<double>() == number, written);
    }
  }
  CHECK(parse_json("0.0023404666354764642")->get_double() == 0.0023404666354764642);
  CHECK(parse_json("[1.7976931348623157e308,5e-324,-0.0]").has_value());
  CHECK(parse_json("1e-400")->to_number<double>() == 0);
  CHECK(std::isinf(parse_json("1e400")->to_number<double>()));
}

TEST_CASE("a document is read whole, with its kinds of numbers, and what is none says where") {
  auto read = parse_json(R"( {"a":[1,-2,18446744073709551615,1.5,true,null,"x\u00e9\n"],"b":{"a":1}} )");
  REQUIRE(read.has_value());
  CHECK(read->as_object().size() == 2);
  auto list = *parse_json(R"([1,-2,18446744073709551615,1.5,true,null,"x\u00e9\n"])");
  CHECK(list.at(0).is_int64());
  CHECK(list.at(2).is_uint64());
  CHECK(list.at(3).is_double());
  CHECK(list.at(6).as_string() == "x\xc3\xa9\n");

  auto where = [](std::string_view text) { return parse_json(text).error().text; };
  CHECK(where("[1,]").find("byte 3") != std::string::npos);
  CHECK(where("{} x").find("extra") != std::string::npos);
  CHECK_FALSE(parse_json("").has_value());
  CHECK_FALSE(parse_json("[1").has_value());
  CHECK_FALSE(parse_json("12 13").has_value());
  CHECK_FALSE(parse_json("\"\xff\"").has_value());
  CHECK_FALSE(parse_json("[1] // no").has_value());
}

TEST_CASE("an object that has a key twice is refused by its name, at any depth and however it is written") {
  for (const char* twice : {R"({"n":1,"n":1})", R"([{"a":{"n":1,"b":2,"n":3}}])", R"({"n":1,"\u006e":2})"}) {
    auto read = parse_json(twice);
    REQUIRE_MESSAGE(!read, twice);
    CHECK_MESSAGE(read.error().text.find("`n` stands twice") != std::string::npos, read.error().text);
  }
  CHECK(parse_json(R"([{"n":1},{"n":1},{"a":{"n":1},"n":2}])"));
}

TEST_CASE("documents may be so deep and no deeper") {
  auto nested = [](std::size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); };
  CHECK(parse_json(nested(64)).has_value());
  CHECK_FALSE(parse_json(nested(65)).has_value());
  CHECK(parse_json(nested(16), 16).has_value());
  CHECK_FALSE(parse_json(nested(17), 16).has_value());
}
