#include "services/ingest/mapping/shipped.hpp"

namespace troupe::ingest {

std::optional<std::string_view> find_shipped_mapping(std::string_view name) noexcept {
  for (auto& each : shipped_mappings())
    if (each.name == name)
      return each.text;
  return std::nullopt;
}

} // namespace troupe::ingest
