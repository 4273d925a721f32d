#include "services/ingest/log/row_quarantine.hpp"

#include "services/ingest/log/log_layout.hpp"

namespace troupe::ingest {

namespace {

/// Whether `source` is the one asked for: by its whole name, or by the end of its path.
bool is_of(std::string_view source, std::string_view wanted) {
  return wanted.empty() || source == wanted ||
         (source.ends_with(wanted) && source[source.size() - wanted.size() - 1] == '/');
}

} // namespace

expected<std::vector<quarantined_row>> row_quarantine::list(const query& which) const {
  std::vector<quarantined_row> found;
  auto at = db_.scan(quarantine_family, number_key(which.after + 1), {}, {.fill_cache = false});
  for (; at.valid() && found.size() < which.limit; at.next()) {
    auto row = decode_row(at.value());
    if ((which.rule.empty() || row.rule == which.rule) && is_of(row.source, which.source) &&
        !(which.open_only && row.replayed))
      found.push_back(std::move(row));
  }
  TROUPE_CHECK(at.check());
  return found;
}

expected<std::size_t> row_quarantine::expire(timestamp older_than) const {
  constexpr std::size_t at_once = 100'000;
  store::write_batch gone;
  auto at = db_.scan(quarantine_family, {}, {}, {.fill_cache = false});
  for (; at.valid() && gone.count() < at_once && decode_row(at.value()).at < older_than; at.next())
    gone.erase(quarantine_family, at.key());
  TROUPE_CHECK(at.check());
  TROUPE_CHECK(db_.write(gone, store::durability::buffered));
  return gone.count();
}

void row_quarantine::add(store::write_batch& to, const quarantined_row& row) {
  to.put(quarantine_family, number_key(row.number), encode(row));
}

expected<void> row_quarantine::mark_replayed(store::write_batch& to, std::uint64_t number) const {
  TROUPE_TRY(stored, db_.find(quarantine_family, number_key(number)));
  if (!stored)
    return {};
  auto row = decode_row(*stored);
  row.replayed = true;
  add(to, row);
  return {};
}

} // namespace troupe::ingest
