#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace troupe::ingest_format {

/// A mapping that comes with the program: `movielens-100k` and its TOML.
struct shipped_mapping {
  std::string_view name;
  std::string_view text;
};

/// Sorted by name.
std::span<const shipped_mapping> shipped_mappings() noexcept;

/// The TOML of the shipped mapping of that name.
std::optional<std::string_view> find_shipped_mapping(std::string_view name) noexcept;

} // namespace troupe::ingest_format
