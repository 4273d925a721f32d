#include "common/core/json_string.hpp"

#include "common/json/parse.hpp"

#include <doctest/doctest.h>

using namespace troupe;

TEST_CASE("a text is appended as a JSON string that is read back as it was") {
  std::string every = "\"\\/ \xc3\xa9 \x7f";
  for (char c = 0; c < 0x20; ++c)
    every += c;

  std::string out = "[";
  append_json_string(out, "a\"b\\c\n\r\t\b\x1f\xc3\xa9");
  out += ',';
  append_json_string(out, every);
  out += ',';
  append_json_string(out, "");
  out += ']';

  CHECK(out.starts_with(R"(["a\"b\\c\n\r\t\u0008\u001f)"
                        "\xc3\xa9\","));
  CHECK(out.ends_with(",\"\"]"));
  auto back = parse_json(out);
  REQUIRE(back);
  CHECK(std::string{back->at(1).get_string()} == every);
}
