#include "services/ingest/log/metadata_store.hpp"

#include "services/ingest/log/log_layout.hpp"

#include <fmt/format.h>

namespace troupe::ingest {

expected<void> metadata_store::put(std::string_view key, std::string_view value) {
  return db_.put(meta_family, fmt::format("{}{}", metadata_prefix, key), value, store::durability::synced);
}

expected<std::vector<std::pair<std::string, std::string>>>
metadata_store::list(std::string_view prefix) const {
  std::vector<std::pair<std::string, std::string>> found;
  auto from = fmt::format("{}{}", metadata_prefix, prefix);
  auto at = db_.scan(meta_family, from, store::prefix_end(from));
  for (; at.valid(); at.next())
    found.emplace_back(std::string{at.key().substr(metadata_prefix.size())}, std::string{at.value()});
  TROUPE_CHECK(at.check());
  return found;
}

} // namespace troupe::ingest
