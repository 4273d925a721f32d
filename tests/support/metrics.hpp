#pragma once

#include "tests/support/fleet.hpp"

#include "common/http/client.hpp"

#include <doctest/doctest.h>

#include <sstream>
#include <string>

namespace troupe::testing {

/// What the admin port of a service says at /metrics.
inline std::string metrics_of(const fleet& services, const std::string& service) {
  auto where = read_file(services.data() / "run" / (service + "-0.admin"));
  auto target = http::client_target::parse("http://" + where.substr(0, where.find('\n')));
  REQUIRE(target);
  auto got = http::client{*target}.call("GET", "/metrics", {}, deadline::in(20s));
  REQUIRE_MESSAGE(got, got.error().text);
  return got->body;
}

/// The sum of all series of a metric whose labels hold `label`.
inline double metric(const std::string& text, const std::string& name, const std::string& label = {}) {
  double sum = 0;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(name) && (line[name.size()] == ' ' || line[name.size()] == '{') &&
        line.find(label) != std::string::npos)
      sum += std::stod(line.substr(line.rfind(' ')));
  return sum;
}

} // namespace troupe::testing
