#include "common/core/make_folder.hpp"

namespace troupe {

expected<void> make_folder(const std::filesystem::path& path) {
  std::error_code failed;
  std::filesystem::create_directories(path, failed);
  if (failed)
    return fail(errno_code(failed.value()), "cannot make the folder {}: {}", path.string(), failed.message());
  return {};
}

} // namespace troupe
