#include "common/log/log.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

using namespace troupe;

namespace {

/// What `body` writes to stderr.
template <class F>
std::string stderr_of(F body) {
  testing::temp_dir folder;
  auto file = (folder / "stderr").string();
  log::flush();
  int saved = ::dup(2);
  int into = ::open(file.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  ::dup2(into, 2);
  body();
  log::flush();
  ::dup2(saved, 2);
  ::close(saved);
  ::close(into);
  std::ostringstream text;
  text << std::ifstream{file}.rdbuf();
  return text.str();
}

} // namespace

TEST_CASE("a line carries level, who, event id and sentence") {
  log::start({.who = "ingest/0", .time = false});

  auto text = stderr_of([] { log::info("release-activated", "scorer activated release {}", 7); });

  CHECK(text == "info ingest/0 release-activated scorer activated release 7\n");
}

TEST_CASE("lines below the level are not written") {
  log::start({.who = "x", .least = log::level::warn, .time = false});

  auto text = stderr_of([] {
    log::info("quiet", "nobody reads this");
    log::error("loud", "somebody reads this");
  });

  CHECK(text == "error x loud somebody reads this\n");
}

TEST_CASE("repeats of one event id are limited and other ids still pass") {
  log::start({.who = "x", .burst = 3, .time = false});

  auto text = stderr_of([] {
    for (int i = 0; i < 1'000; ++i)
      log::warn("again", "line {}", i);
    log::warn("other", "still here");
  });

  CHECK(std::count(text.begin(), text.end(), '\n') <= 7);
  CHECK(text.find("x other still here") != std::string::npos);
}
