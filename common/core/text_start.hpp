#pragma once

#include <cstddef>
#include <string_view>

namespace troupe {

/// The first bytes of a text in UTF-8, `most` of them or some fewer: it is not cut within a character, so
/// that what a message quotes can stand in JSON.
inline std::string_view text_start(std::string_view text, std::size_t most) noexcept {
  if (text.size() <= most)
    return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80)
    --most;
  return text.substr(0, most);
}

} // namespace troupe
