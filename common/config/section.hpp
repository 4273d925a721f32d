#pragma once

#include "common/core/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace troupe {

/// One value as a TOML file or the command line gives it.
using config_value = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;

/// How a person would write `value` in TOML.
std::string to_text(const config_value& value);

/// The keys and values of one TOML table. Tables inside it are flattened: `[cache] bytes = 1` is the key
/// `cache.bytes`.
struct config_section {
  std::string origin; ///< For messages: the file, and the table in it.
  std::map<std::string, config_value, std::less<>> values;

  /// Puts a value given on the command line (`key=value`) over what the file says. The text is read as TOML
  /// where that works, else taken as a string: `--set retention=7d` and `--set names='["a", "b"]'` both do
  /// what they say.
  expected<void> set(std::string_view assignment);

  friend bool operator==(const config_section&, const config_section&) = default;
};

/// Reads a whole TOML file as one section. Errors name the file, the line and the column.
expected<config_section> read_config(const std::filesystem::path& file);

/// The same, for text that is at hand.
expected<config_section> parse_config(std::string_view toml, std::string origin);

} // namespace troupe
