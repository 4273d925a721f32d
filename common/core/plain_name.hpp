#pragma once

#include <string_view>

namespace troupe {

/// Whether a file or folder of ours, and what it holds, may have this name: 1 to 128 letters, digits, -, _
/// and ., the first of them no dot.
bool is_plain_name(std::string_view text) noexcept;

} // namespace troupe
