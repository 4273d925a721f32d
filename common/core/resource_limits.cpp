#include "common/core/resource_limits.hpp"

#include "common/core/file.hpp"

#include <dirent.h>
#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace troupe {

std::uint64_t descriptor_limit() noexcept {
  rlimit files{};
  return ::getrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur : 0;
}

std::uint64_t raise_descriptor_limit() noexcept {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  return descriptor_limit();
}

std::uint64_t descriptors_kept() noexcept {
  return std::min<std::uint64_t>(descriptor_limit() / 4, 320);
}

std::uint64_t descriptors_in_use() noexcept {
  auto* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr)
    return descriptor_limit();
  std::uint64_t found = 0;
  while (const auto* each = ::readdir(folder))
    found += each->d_name[0] != '.' ? 1u : 0u;
  ::closedir(folder);
  return found - 1; // Less the one we looked with.
}

std::optional<std::uint64_t> memory_limit(const std::filesystem::path& root) {
  auto groups = read_file(root / "proc/self/cgroup");
  if (!groups)
    return std::nullopt;
  std::string_view text{*groups};
  auto at = text.starts_with("0::") ? 0 : text.find("\n0::");
  if (at == text.npos)
    return std::nullopt;
  text.remove_prefix(text.find("0::", at) + 3);
  std::filesystem::path group{text.substr(0, text.find('\n'))};
  auto top = root / "sys/fs/cgroup";
  std::optional<std::uint64_t> least;
  for (auto here = top / group.relative_path();; here = here.parent_path()) {
    if (auto most = read_file(here / "memory.max")) {
      std::uint64_t bytes = 0;
      if (std::from_chars(most->data(), most->data() + most->size(), bytes).ec == std::errc{})
        least = std::min(least.value_or(bytes), bytes);
    }
    if (here == top || !here.has_relative_path())
      return least;
  }
}

} // namespace troupe
