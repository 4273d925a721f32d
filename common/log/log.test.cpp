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

std::string content_of(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream{file}.rdbuf();
  return text.str();
}

/// What `body`, which is told the file that takes it, writes to stderr.
template <class F>
std::string stderr_of(F body) {
  testing::temp_dir folder;
  auto file = folder / "stderr";
  log::flush();
  int saved = ::dup(2);
  int into = ::open(file.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  ::dup2(into, 2);
  body(file);
  log::flush();
  ::dup2(saved, 2);
  ::close(saved);
  ::close(into);
  return content_of(file);
}

} // namespace

TEST_CASE("a line carries level, who, event id and sentence") {
  log::start({.identity = "ingest/0", .time = false});

  auto text = stderr_of([](auto&) { log::info("release-activated", "scorer activated release {}", 7); });

  CHECK(text == "info ingest/0 release-activated scorer activated release 7\n");
}

TEST_CASE("lines below the level are not written") {
  log::start({.identity = "x", .least = log::level::warn, .time = false});

  auto text = stderr_of([](auto&) {
    log::info("quiet", "nobody reads this");
    log::error("loud", "somebody reads this");
  });

  CHECK(text == "error x loud somebody reads this\n");
}

TEST_CASE(
    "repeats of one event id are limited, the next line says how many were left out, other ids still pass") {
  log::start({.identity = "x", .burst = 3, .time = false});

  // The first line of the next second is the fourth that is written.
  std::uint64_t left_out = 0;
  auto text = stderr_of([&](const std::filesystem::path& file) {
    log::warn("other", "is first");
    for (std::uint64_t i = 0; left_out == 0; ++i) {
      log::warn("again", "line {}", i);
      log::flush();
      auto written = content_of(file);
      if (std::ranges::count(written, '\n') >= 5)
        left_out = i - 3;
    }
    log::warn("other", "still here");
  });

  CHECK(text ==
        fmt::format(
            "warning x other is first\nwarning x again line 0\nwarning x again line 1\nwarning x again "
            "line 2\nwarning x again line {} ({} more like this left out)\nwarning x other still here\n",
            left_out + 3, left_out));
}
