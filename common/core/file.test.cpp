#include "common/core/file.hpp"

#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>

using namespace troupe;

TEST_CASE("a file is read as it was written, and written over as a whole") {
  testing::temp_dir dir;
  std::string first(200'000, 'a');
  first[1] = '\0';

  REQUIRE(write_file_atomically(dir / "f", as_bytes(first)));
  CHECK(read_file(dir / "f") == first);
  REQUIRE(write_file_atomically(dir / "f", as_bytes("short")));
  CHECK(read_file(dir / "f") == "short");
  REQUIRE(write_file_atomically(dir / "empty", {}));
  CHECK(read_file(dir / "empty") == "");
}

TEST_CASE("what cannot be read or written says what and why, and leaves nothing behind") {
  testing::temp_dir dir;
  std::filesystem::create_directory(dir / "folder");

  auto read = read_file(dir / "none");
  REQUIRE_FALSE(read);
  CHECK(read.error().code == ec::not_found);
  CHECK(read.error().text == "cannot open " + (dir / "none").string() + ": No such file or directory");
  CHECK_FALSE(read_file(dir / "folder"));
  auto missing = write_file_atomically(dir / "no" / "f", as_bytes("x"));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ec::not_found);

  CHECK_FALSE(write_file_atomically(dir / "folder", as_bytes("x"))); // The rename fails.
  std::size_t left = 0;
  for ([[maybe_unused]] auto& each : std::filesystem::directory_iterator{dir.path()})
    ++left;
  CHECK(left == 1);
}
