#include "tests/support/fleet.hpp"

#include <boost/json/parse.hpp>
#include <doctest/doctest.h>
#include <signal.h>

using namespace troupe::testing;

TEST_CASE("a program that ends gives its exit code and what it printed") {
  auto result = run({"/bin/sh", "-c", "echo out; echo err >&2; exit 7"});

  CHECK(result.code == 7);
  CHECK(result.out == "out\n");
  CHECK(result.err == "err\n");
}

TEST_CASE("a program that does not end is killed") {
  CHECK(run({"/bin/sh", "-c", "exec sleep 600"}, 50ms).code == -1);
  CHECK(descendants("sleep").empty());
}

TEST_CASE("a child is found among the descendants, and killed with its object") {
  temp_dir dir;
  {
    child process{{"/bin/sleep", "600"}, dir / "out", dir / "err"};
    CHECK(wait_until([] { return descendants("sleep").size() == 1 || descendants("coreutils").size() == 1; },
                     5s));
    CHECK(!process.wait(0ms));
  }
  CHECK(descendants().empty());
}

TEST_CASE("numbers are found at any depth of a document") {
  auto doc = boost::json::parse(R"({"a":{"b":[{"c":5}]},"d":7})");

  CHECK(number(doc, "c") == 5);
  CHECK(number(doc, "d") == 7);
  CHECK(number(doc, "x") == -1);
}
