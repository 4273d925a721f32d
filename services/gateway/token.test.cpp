#include "services/gateway/token.hpp"

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::gateway;

TEST_CASE("a token is read back as the offsets it was made of") {
  log_offsets offsets{{0, 1}, {15, 18'446'744'073'709'551'615u}};

  CHECK(write_token(offsets) == "0:1,15:18446744073709551615");
  CHECK(read_token(write_token(offsets)) == offsets);
  CHECK(read_token("") == log_offsets{});
}

TEST_CASE("what is no token is refused") {
  for (const char* bad : {"0", "0:", ":1", "0:1,", ",0:1", "0:1;2:3", "-1:2", "0:-2", "0:1 ", "4294967296:1",
                          "0:18446744073709551616", "hello"})
    CHECK_MESSAGE(!read_token(bad), bad);
  std::string many = "0:1";
  for (int i = 0; i < 1'024; ++i)
    many += ",0:1";
  CHECK(!read_token(many));
}
