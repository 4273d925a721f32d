#pragma once

#include "tests/support/input.hpp"

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

/// What the fault tests share: their size, given in the environment by scripts/fault, and where they say what
/// they saw.
namespace troupe::testing {

inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  auto* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

inline const std::uint64_t fault_seed = from_environment("TROUPE_FAULT_SEED", std::random_device{}());
/// How long a fleet of a fault test may stand.
inline const std::chrono::seconds fault_limit{from_environment("TROUPE_FAULT_LIMIT_S", 560)};

/// All eight, in the order of the way of a row.
inline constexpr const char* all_services[] = {"gateway", "ingest",   "validator", "feature-store",
                                               "trainer", "registry", "deployer",  "ranker"};

/// Prints a line, and keeps it in build/<preset>/Testing/fault.result.
inline void say(const std::string& line) {
  std::cout << line << std::endl;
  std::ofstream{log_dir() / "fault.result", std::ios::app} << line << '\n';
}

/// The records of the log as `log tail` prints them, partition by partition: each line a JSON object.
inline std::vector<std::string> log_lines(const fleet& services) {
  std::vector<std::string> lines;
  auto count = services.ask({"log", "info"}).at("partitions").as_array().size();
  for (std::size_t p = 0; p < count; ++p) {
    auto out = services.troupe(
        {"log", "tail", "--partition", std::to_string(p), "--from", "0", "--count", "10000000"}, 300s);
    REQUIRE_MESSAGE(out.code == 0, out.err);
    std::istringstream text{out.out};
    for (std::string line; std::getline(text, line);)
      lines.push_back(std::move(line));
  }
  return lines;
}

} // namespace troupe::testing
