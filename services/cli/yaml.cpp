#include "services/cli/yaml.hpp"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

namespace troupe::cli {

namespace json = boost::json;

namespace {

/// True for what stands for itself: letters, digits and / . _ - inside, nothing that looks like a number, a
/// flag or a time.
bool is_plain(std::string_view text) {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/_";
  constexpr std::array<std::string_view, 8> words{"y", "n", "yes", "no", "on", "off", "true", "false"};
  if (text.empty() || letters.find(text.front()) == std::string_view::npos || text == "null")
    return false;
  std::string low{text};
  std::ranges::transform(low, low.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::ranges::find(words, low) == words.end() && std::ranges::all_of(text, [&](char c) {
           return letters.find(c) != std::string_view::npos || (c >= '0' && c <= '9') || c == '.' || c == '-';
         });
}

std::string scalar(const json::value& value) {
  if (const auto* text = value.if_string()) {
    std::string_view view{*text};
    return is_plain(view) ? std::string{view} : json::serialize(value); // JSON's quotes are YAML's
  }
  if (const auto* number = value.if_double())
    return fmt::format("{}", *number);
  return json::serialize(value);
}

bool is_block(const json::value& value) {
  return (value.is_object() && !value.get_object().empty()) ||
         (value.is_array() && !value.get_array().empty());
}

bool is_lines(const json::value& value) {
  const auto* text = value.if_string();
  return text && text->size() > 1 && text->back() == '\n' && text->find('\n') != text->size() - 1;
}

/// Literal block: the lines as they are, one level deeper.
void write_lines(std::string& out, std::string_view text, std::size_t depth) {
  out += " |\n";
  while (!text.empty()) {
    auto end = text.find('\n');
    if (end != 0)
      out += std::string(depth * 2, ' ') + std::string{text.substr(0, end)};
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

/// `value` at `depth`; `inside` when the first line goes on behind a "- ".
void write(std::string& out, const json::value& value, std::size_t depth, bool inside) {
  auto indent = [&] {
    if (!inside)
      out += std::string(depth * 2, ' ');
    inside = false;
  };
  if (const auto* object = value.if_object()) {
    for (const auto& [key, each] : *object) {
      indent();
      out += scalar(json::value(key)) + ":";
      if (is_lines(each))
        write_lines(out, each.get_string(), depth + 1);
      else if (is_block(each)) {
        out += '\n';
        write(out, each, depth + 1, false);
      } else
        out += " " + scalar(each) + "\n";
    }
    return;
  }
  for (const auto& each : value.get_array()) {
    indent();
    out += "- ";
    if (is_block(each))
      write(out, each, depth + 1, true);
    else
      out += scalar(each) + "\n";
  }
}

} // namespace

std::string to_yaml(const json::value& value) {
  std::string out;
  if (is_block(value))
    write(out, value, 0, false);
  else
    out = scalar(value) + "\n";
  return out;
}

} // namespace troupe::cli
