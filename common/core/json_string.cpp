#include "common/core/json_string.hpp"

#include <fmt/format.h>

#include <iterator>

namespace troupe {

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  auto plain = [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto first = i;
    while (i < text.size() && plain(text[i]))
      ++i;
    out.append(text, first, i - first);
    if (i == text.size())
      break;
    switch (char c = text[i]) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<int>(c));
    }
  }
  out += '"';
}

} // namespace troupe
