#pragma once

#include <string>
#include <string_view>

namespace troupe {

/// Appends `text` as a JSON string (RFC 8259), quotes included. What is no UTF-8 stays as it is.
void append_json_string(std::string& out, std::string_view text);

} // namespace troupe
