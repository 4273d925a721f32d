#include "services/ingest/log/dedup_index.hpp"

#include "services/ingest/log/log_layout.hpp"

#include <vector>

namespace troupe::ingest {

expected<void> dedup_index::look_up(std::span<const hash128> ids,
                                    const std::function<void(const hash128&, std::uint64_t)>& tell) const {
  std::vector<dedup_key> keys;
  std::vector<std::string_view> views;
  keys.reserve(ids.size());
  views.reserve(ids.size());
  for (auto& id : ids)
    views.push_back(view(keys.emplace_back(key_of(id))));
  return db_.visit_many(dedup_family, views, [&](std::size_t index, std::string_view value) {
    tell(ids[index], store::read_u64(value));
  });
}

expected<bool> dedup_index::holds(const hash128& id) const {
  TROUPE_TRY(stored, db_.find(dedup_family, view(key_of(id))));
  return stored.has_value();
}

void dedup_index::add(store::write_batch& to, const hash128& id, std::uint64_t content) {
  to.put(dedup_family, view(key_of(id)), number_key(content));
}

void dedup_index::remove(store::write_batch& from, const hash128& id) {
  from.erase(dedup_family, view(key_of(id)));
}

} // namespace troupe::ingest
