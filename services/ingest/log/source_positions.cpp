#include "services/ingest/log/source_positions.hpp"

#include "services/ingest/log/log_layout.hpp"

namespace troupe::ingest {

expected<std::optional<source_state>> source_positions::find(std::string_view key) const {
  TROUPE_TRY(stored, db_.find(source_family, key));
  if (!stored)
    return std::optional<source_state>{};
  return std::optional{decode_source(*stored)};
}

expected<std::vector<std::pair<std::string, source_state>>>
source_positions::list(std::string_view prefix) const {
  std::vector<std::pair<std::string, source_state>> found;
  auto at = db_.scan(source_family, prefix, store::prefix_end(prefix));
  for (; at.valid(); at.next())
    found.emplace_back(std::string{at.key()}, decode_source(at.value()));
  TROUPE_CHECK(at.check());
  return found;
}

expected<void> source_positions::forget(std::string_view prefix) {
  store::write_batch batch;
  batch.erase_range(source_family, prefix, store::prefix_end(prefix));
  return db_.write(batch, store::durability::synced);
}

void source_positions::put(store::write_batch& to, std::string_view key, const source_state& state) {
  to.put(source_family, key, encode(state));
}

} // namespace troupe::ingest
