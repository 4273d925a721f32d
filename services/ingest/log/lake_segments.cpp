#include "services/ingest/log/lake_segments.hpp"

#include "services/ingest/log/log_layout.hpp"

#include <algorithm>

namespace troupe::ingest {

expected<void> lake_segments::recover(std::uint32_t partitions) {
  TROUPE_TRY(sealed, list());
  std::lock_guard lock{mutex_};
  ends_.assign(partitions, 0);
  for (auto& each : sealed)
    if (each.partition < partitions)
      ends_[each.partition] = std::max(ends_[each.partition], each.next);
  return {};
}

expected<std::vector<lake_segment>> lake_segments::list() const {
  std::vector<lake_segment> found;
  auto at = db_.scan(meta_family, "segment/", store::prefix_end("segment/"));
  for (; at.valid(); at.next())
    found.push_back(decode_segment(at.value()));
  TROUPE_CHECK(at.check());
  return found;
}

expected<lake_segment> lake_segments::find(std::uint32_t partition, std::uint64_t offset) const {
  auto at = db_.scan(meta_family, segment_key(partition, 0), segment_key(partition + 1, 0));
  at.seek_at_or_before(segment_key(partition, offset));
  TROUPE_CHECK(at.check());
  if (at.valid())
    if (auto found = decode_segment(at.value()); found.next > offset)
      return found;
  return fail(ec::not_found, "the record of partition {} at offset {} is not in the lake", partition, offset);
}

expected<void> lake_segments::add(const lake_segment& segment, std::uint64_t log_end) {
  std::lock_guard lock{mutex_};
  auto& end = ends_.at(segment.partition);
  if (segment.first != end || segment.next <= segment.first || segment.next > log_end)
    return fail(ec::conflict, "cannot add segment {}-{} of partition {}: the lake ends at {}, the log at {}",
                segment.first, segment.next, segment.partition, end, log_end);
  TROUPE_CHECK(db_.put(meta_family, segment_key(segment.partition, segment.first), encode(segment),
                       store::durability::synced));
  end = segment.next;
  return {};
}

std::vector<std::uint64_t> lake_segments::ends() const {
  std::lock_guard lock{mutex_};
  return ends_;
}

} // namespace troupe::ingest
