#include "common/core/file.hpp"

#include "common/core/file_sync.hpp"
#include "common/core/regular_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace troupe {

expected<std::string> read_file(const std::filesystem::path& file) {
  TROUPE_TRY(fd, open_regular(file, O_RDONLY));
  std::string out;
  std::array<char, 64 * 1024> part;
  for (;;) {
    auto got = ::read(fd, part.data(), part.size());
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0) {
      int number = errno;
      ::close(fd);
      return fail(errno_code(number), "cannot read {}: {}", file.string(), errno_text(number));
    }
    if (got == 0)
      break;
    out.append(part.data(), static_cast<std::size_t>(got));
  }
  ::close(fd);
  return out;
}

expected<void> write_file_atomically(const std::filesystem::path& file, byte_view bytes) {
  auto beside = file;
  beside += fmt::format(".{}.part", ::getpid());
  int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0)
    return fail(errno_code(errno), "cannot write {}: {}", beside.string(), errno_text(errno));
  auto give_up = [&](int number) {
    ::close(fd);
    ::unlink(beside.c_str());
    return fail(errno_code(number), "cannot write {}: {}", file.string(), errno_text(number));
  };
  for (auto left = bytes; !left.empty();) {
    auto written = ::write(fd, left.data(), left.size());
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return give_up(errno);
    left = left.subspan(static_cast<std::size_t>(written));
  }
  if (::fsync(fd) != 0)
    return give_up(errno);
  if (::rename(beside.c_str(), file.c_str()) != 0)
    return give_up(errno);
  ::close(fd);
  return sync_file(file.has_parent_path() ? file.parent_path() : std::filesystem::path{"."});
}

} // namespace troupe
