#include "common/core/make_folder.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace troupe {

expected<void> make_folder(const std::filesystem::path& path) {
  std::error_code failed;
  std::filesystem::create_directories(path, failed);
  if (failed)
    return fail(errno_code(failed.value()), "cannot make the folder {}: {}", path.string(), failed.message());
  return {};
}

expected<void> make_own_folder(const std::filesystem::path& path) {
  TROUPE_CHECK(make_folder(path));
  struct stat about {};
  // One that is another's, such as the mounted volume of a container, has the rights that they gave it.
  if (::stat(path.c_str(), &about) == 0 && about.st_uid == ::geteuid() && (about.st_mode & 077) != 0 &&
      ::chmod(path.c_str(), about.st_mode & 0700) != 0) {
    int number = errno;
    return fail(errno_code(number), "cannot take the rights of others to {} away: {}", path.string(),
                errno_text(number));
  }
  return {};
}

void keep_to_ourselves() noexcept {
  ::umask(077);
}

} // namespace troupe
