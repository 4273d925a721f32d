#include "services/ingest/log/append_request.hpp"

#include <algorithm>
#include <cassert>

namespace troupe::ingest {

batch_buffer encode_rows(const std::vector<record>& records, std::span<const std::uint32_t> rows,
                         std::uint32_t partition) {
  std::vector<const record*> wanted;
  wanted.reserve(rows.size());
  for (auto row : rows)
    wanted.push_back(&records[row]);
  return {wanted, partition};
}

void append_request::encode(std::uint32_t partitions) {
  parts.clear();
  auto now = wall_now();
  std::vector<std::vector<std::uint32_t>> rows(partitions);
  for (std::uint32_t i = 0; i < records.size(); ++i) {
    records[i].ingest_time = now; // Replaced when the log takes it, in place: the bytes must hold one.
    rows[partition_of(records[i].partition_key(), partitions)].push_back(i);
  }
  for (std::uint32_t partition = 0; partition < partitions; ++partition)
    for (std::size_t at = 0; at < rows[partition].size(); at += block_records) {
      auto first = rows[partition].begin() + static_cast<std::ptrdiff_t>(at);
      auto count = std::min(block_records, rows[partition].size() - at);
      std::vector<std::uint32_t> some(first, first + static_cast<std::ptrdiff_t>(count));
      auto bytes = encode_rows(records, some, partition);
      parts.push_back({partition, std::move(some), std::move(bytes)});
    }
}

chunk append_request::joined() const {
  if (parts.empty())
    return {};
  std::vector<joined_part> all;
  for (auto& each : parts)
    all.push_back({&each.bytes, each.rows});
  return join_batches(all);
}

void append_request::leave_out(const std::vector<bool>& gone) {
  assert(gone.size() == records.size());
  std::vector<std::uint32_t> now_at(records.size());
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < records.size(); ++i) {
    now_at[i] = kept;
    if (gone[i])
      continue;
    if (kept != i) {
      records[kept] = std::move(records[i]);
      if (!origins.empty())
        origins[kept] = std::move(origins[i]);
    }
    ++kept;
  }
  records.resize(kept);
  if (!origins.empty())
    origins.resize(kept);
  for (auto& part : parts) {
    auto before = part.rows.size();
    std::erase_if(part.rows, [&](auto row) { return gone[row]; });
    for (auto& row : part.rows)
      row = now_at[row];
    if (part.rows.size() != before && !part.rows.empty())
      part.bytes = encode_rows(records, part.rows, part.partition);
  }
  std::erase_if(parts, [](auto& part) { return part.rows.empty(); });
}

rejected_row append_request::rejected(std::size_t index, std::string rule, std::string field,
                                      std::string reason) const {
  rejected_row row{source, import, index + 1, 0, std::move(rule), std::move(field), std::move(reason), {}};
  if (index < origins.size()) {
    row.row = origins[index].row;
    row.byte_offset = origins[index].byte_offset;
    row.raw = origins[index].raw;
  }
  if (row.raw.empty())
    row.raw = to_json(records[index]);
  return row;
}

} // namespace troupe::ingest
