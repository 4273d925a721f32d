#include "services/cli/units.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace troupe::cli;

TEST_CASE("a number is shown in the unit that fits, as its name says what it counts") {
  CHECK(value_with_unit("p99_us", 500'000) == "500 ms");
  CHECK(value_with_unit("p50_us", 850) == "0.85 ms");
  CHECK(value_with_unit("took_us", 12e6) == "12 s");
  CHECK(value_with_unit("wait_ms", 25) == "25 ms");
  CHECK(value_with_unit("oldest_seconds", 600) == "10 min");
  CHECK(value_with_unit("free_bytes", 1.5 * 1024 * 1024 * 1024) == "1.5 GiB");
  CHECK(value_with_unit("queued_bytes", 12) == "12 bytes");
  CHECK(value_with_unit("error_rate", 0.0025) == "0.25 %");
  CHECK(value_with_unit("rows", 1'234'567) == "1234567");
  CHECK(value_with_unit("overlap", 0.5) == "0.5");
  CHECK(value_with_unit("zero", -0.0) == "0");
  CHECK(value_with_unit("bound", std::numeric_limits<double>::infinity()) == "-");
  CHECK(name_without_unit("p99_us") == "p99");
  CHECK(name_without_unit("error_rate") == "error_rate");
  CHECK(name_without_unit("_us") == "_us");
}

TEST_CASE("an instant is shown to the second, and none where there is none") {
  CHECK(short_time(1'767'225'600'500'000) == "2026-01-01T00:00:00");
  CHECK(short_time(0).empty());
}

TEST_CASE("no number is shown with an exponent") {
  for (auto value : {1e-9, 1e5, 5e5, 1e12, -3e7})
    for (auto name : {"n", "p99_us", "x_seconds", "y_bytes", "z_rate"})
      CHECK(value_with_unit(name, value).find("e+") == std::string::npos);
}
