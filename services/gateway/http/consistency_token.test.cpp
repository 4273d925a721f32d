#include "services/gateway/http/consistency_token.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::gateway;

TEST_CASE("a token is read back as the offsets and deleted items it was made of") {
  consistency_token token{{{0, 1}, {15, 18'446'744'073'709'551'615u}}, {}};

  CHECK(write_token(token) == "0:1,15:18446744073709551615");
  CHECK(parse_token(write_token(token)) == token);
  CHECK(parse_token("") == consistency_token{});
  token.deleted_items = {"i1", "a;b,c d", "\xc3\xa9"};
  CHECK(write_token(token) == "0:1,15:18446744073709551615;i1;a%3Bb%2Cc%20d;%C3%A9");
  CHECK(parse_token(write_token(token)) == token);
}

TEST_CASE("a token names no more deleted items than a header has room for") {
  consistency_token token{{{0, 1}}, std::vector<std::string>(most_deleted_items + 1, "i")};

  auto read = parse_token(write_token(token));
  REQUIRE(read);
  CHECK(read->deleted_items.size() == most_deleted_items);
}

TEST_CASE("what is no token is refused") {
  for (const char* bad : {"0", "0:", ":1", "0:1,", ",0:1", "0:1;2:3", "-1:2", "0:-2", "0:1 ", "4294967296:1",
                          "0:1;", "0:1;%zz", "0:1;i1;", "0:18446744073709551616", "hello"})
    CHECK_MESSAGE(!parse_token(bad), bad);
  std::string many = "0:1";
  for (int i = 0; i < 1'024; ++i)
    many += ",0:1";
  CHECK(!parse_token(many));
}
