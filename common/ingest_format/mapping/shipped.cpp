#include "common/ingest_format/mapping/shipped.hpp"

namespace troupe::ingest_format {

std::optional<std::string_view> find_shipped_mapping(std::string_view name) noexcept {
  for (auto& each : shipped_mappings())
    if (each.name == name)
      return each.text;
  return std::nullopt;
}

} // namespace troupe::ingest_format
