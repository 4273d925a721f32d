#include "common/core/file_sync.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace troupe {

expected<void> sync_file(const std::filesystem::path& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  bool good = fd >= 0 && ::fsync(fd) == 0;
  int number = errno;
  if (fd >= 0)
    ::close(fd);
  if (!good)
    return fail(errno_code(number), "cannot sync {}: {}", path.string(), errno_text(number));
  return {};
}

} // namespace troupe
