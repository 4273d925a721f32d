#include "common/core/plain_name.hpp"

#include <algorithm>
#include <filesystem>

namespace troupe {

bool is_plain_name(std::string_view text) noexcept {
  return !text.empty() && text.size() <= 128 && text.front() != '.' && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

bool stays_inside(std::string_view path) {
  std::filesystem::path parts{path};
  return !path.empty() && !parts.is_absolute() &&
         std::none_of(parts.begin(), parts.end(), [](auto& part) { return part == ".." || part == "."; });
}

} // namespace troupe
