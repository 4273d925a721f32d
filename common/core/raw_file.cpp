#include "common/core/raw_file.hpp"

#include "common/core/regular_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace troupe {

expected<raw_file> raw_file::open(const std::filesystem::path& path, int flags) {
  TROUPE_TRY(fd, open_regular(path, flags));
  return raw_file{path, fd};
}

raw_file::~raw_file() {
  if (fd_ >= 0)
    ::close(fd_);
}

unexpected<error> raw_file::refused(const char* doing) const {
  int number = errno;
  return fail(errno_code(number), "cannot {} {}: {}", doing, path_.string(), errno_text(number));
}

expected<std::string> raw_file::read(std::uint64_t offset, std::size_t bytes) const {
  std::string text(bytes, '\0');
  std::size_t have = 0;
  while (have < bytes) {
    auto got = ::pread(fd_, text.data() + have, bytes - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return refused("read");
    if (got == 0)
      break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

expected<void> raw_file::write(std::uint64_t offset, byte_view bytes) const {
  while (!bytes.empty()) {
    auto put = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0)
      return refused("write");
    offset += static_cast<std::uint64_t>(put);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

expected<std::uint64_t> raw_file::size() const {
  struct stat about {};
  if (::fstat(fd_, &about) != 0)
    return refused("read the size of");
  return static_cast<std::uint64_t>(about.st_size);
}

expected<void> raw_file::sync() const {
  if (::fdatasync(fd_) != 0)
    return refused("sync");
  return {};
}

} // namespace troupe
