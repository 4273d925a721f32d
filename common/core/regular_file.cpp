#include "common/core/regular_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace troupe {

namespace {

const char* name_of(mode_t mode) {
  return S_ISDIR(mode)    ? "a folder"
         : S_ISFIFO(mode) ? "a named pipe"
         : S_ISSOCK(mode) ? "a socket"
         : S_ISCHR(mode)  ? "a character device"
         : S_ISBLK(mode)  ? "a block device"
                          : "something else";
}

unexpected<error> refused(const std::filesystem::path& path, mode_t mode) {
  return fail(ec::invalid_argument, "cannot open {}: it is {}, not a regular file", path.string(),
              name_of(mode));
}

unexpected<error> refused_by_system(const std::filesystem::path& path, int number) {
  return fail(errno_code(number), "cannot open {}: {}", path.string(), errno_text(number));
}

} // namespace

expected<void> check_regular(const std::filesystem::path& path) {
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0)
    return refused_by_system(path, errno);
  if (!S_ISREG(about.st_mode))
    return refused(path, about.st_mode);
  return {};
}

expected<int> open_regular(const std::filesystem::path& path, int flags) {
  struct stat about {};
  // Before it is opened: opening a device may do something to it, and a socket cannot be opened at all.
  if (::stat(path.c_str(), &about) == 0 && !S_ISREG(about.st_mode))
    return refused(path, about.st_mode);
  int fd = ::open(path.c_str(), flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
  if (fd < 0)
    return refused_by_system(path, errno);
  if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) { // It was replaced meanwhile.
    ::close(fd);
    return refused(path, about.st_mode);
  }
  return fd;
}

} // namespace troupe
