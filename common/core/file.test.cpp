#include "common/core/file.hpp"

#include "common/core/file_hash.hpp"
#include "common/core/make_folder.hpp"
#include "common/core/raw_file.hpp"
#include "common/core/regular_file.hpp"
#include "common/core/resource_limits.hpp"
#include "common/testing/temp_dir.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

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

TEST_CASE("what is no regular file is refused by what it is, at once") {
  testing::temp_dir dir;
  auto pipe = (dir / "pipe").string(), socket = (dir / "socket").string();
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  std::strncpy(at.sun_path, socket.c_str(), sizeof at.sun_path - 1);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  std::filesystem::create_symlink(pipe, dir / "link");
  std::pair<std::filesystem::path, std::string> wrong[] = {
      {pipe, "it is a named pipe, not a regular file"},
      {dir / "link", "it is a named pipe, not a regular file"},
      {socket, "it is a socket, not a regular file"},
      {dir.path(), "it is a folder, not a regular file"},
      {"/dev/zero", "it is a character device, not a regular file"}};

  for (auto& [path, why] : wrong) {
    CAPTURE(path.string());
    for (auto& refused : {read_file(path).error(), raw_file::open(path, O_RDONLY).error(),
                          raw_file::open(path, O_RDWR | O_CREAT).error(), hash_file(path).error(),
                          check_regular(path).error()}) {
      CHECK(refused.code == ec::invalid_argument);
      CHECK(refused.text == "cannot open " + path.string() + ": " + why);
    }
  }
  CHECK(check_regular(dir / "none").error().code == ec::not_found);
  CHECK(read_file("/proc/self/cmdline")); // Its size is said to be 0.
  ::close(fd);
}

TEST_CASE("what a service makes is for its user alone, whatever the umask was") {
  testing::temp_dir dir;
  auto mode = [&](const char* name) {
    struct stat about {};
    REQUIRE(::stat((dir / name).c_str(), &about) == 0);
    return about.st_mode & 0777;
  };
  auto mask = ::umask(0);
  std::filesystem::create_directory(dir / "open");
  CHECK(mode("open") == 0777);

  REQUIRE(raw_file::open(dir / "raw", O_RDWR | O_CREAT));
  CHECK(mode("raw") == 0600);
  REQUIRE(make_own_folder(dir / "open"));
  CHECK(mode("open") == 0700);
  keep_to_ourselves();
  REQUIRE(make_folder(dir / "folder"));
  CHECK(mode("folder") == 0700);
  REQUIRE(write_file_atomically(dir / "file", as_bytes("x")));
  CHECK(mode("file") == 0600);
  ::umask(mask);
}

TEST_CASE("the limits of the process and of its control groups are known") {
  CHECK(raise_descriptor_limit() == descriptor_limit());
  auto before = descriptors_in_use();
  int one = ::dup(0), two = ::dup(0);
  CHECK(descriptors_in_use() == before + 2);
  ::close(one);
  ::close(two);
  testing::temp_dir dir;
  auto put = [&](const char* name, const char* text) {
    std::filesystem::create_directories((dir / name).parent_path());
    REQUIRE(write_file_atomically(dir / name, as_bytes(text)));
  };
  CHECK_FALSE(memory_limit(dir.path()));
  put("proc/self/cgroup", "1:name=systemd:/x\n0::/a/b\n");
  CHECK_FALSE(memory_limit(dir.path()));
  put("sys/fs/cgroup/a/b/memory.max", "max\n");
  CHECK_FALSE(memory_limit(dir.path()));
  put("sys/fs/cgroup/a/memory.max", "1048576\n");
  CHECK(memory_limit(dir.path()) == 1048576);
  put("sys/fs/cgroup/a/b/memory.max", "2097152\n");
  CHECK(memory_limit(dir.path()) == 1048576);
  put("proc/self/cgroup", "0::/\n");
  put("sys/fs/cgroup/memory.max", "4096\n");
  CHECK(memory_limit(dir.path()) == 4096);
}
