#include "services/ingest/log/append_request.hpp"

#include "services/ingest/log/log_layout.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace troupe::ingest {

void append_request::encode(std::uint32_t partitions) {
  parts.clear();
  auto count = static_cast<std::uint32_t>(records.size());
  places.resize(count);
  id_hashes.resize(count);
  content_hashes.resize(count);
  auto now = wall_now();
  std::vector<std::vector<std::uint32_t>> rows(partitions);
  for (std::uint32_t i = 0; i < count; ++i) {
    auto& rec = records[i];
    rec.ingest_time = now; // Replaced when the log takes it, in place: the bytes must hold one.
    id_hashes[i] = hash_of(rec);
    bool gave_none = i < origins.size() && origins[i].untimed;
    auto untimed = std::exchange(rec.untimed, rec.untimed || gave_none);
    content_hashes[i] = content_hash(rec);
    rec.untimed = untimed;
    rows[partition_of(rec.partition_key(), partitions)].push_back(i);
  }
  std::vector<const record*> wanted;
  for (std::uint32_t partition = 0; partition < partitions; ++partition)
    for (std::size_t at = 0; at < rows[partition].size(); at += block_records) {
      auto some = std::span{rows[partition]}.subspan(at);
      some = some.first(std::min(block_records, some.size()));
      wanted.clear();
      for (std::uint32_t k = 0; k < some.size(); ++k) {
        wanted.push_back(&records[some[k]]);
        places[some[k]] = {static_cast<std::uint32_t>(parts.size()), k};
      }
      parts.push_back({partition, {some.begin(), some.end()}, {wanted, partition}});
    }
  records = {}; // On the thread that has made them, where that costs least.
}

batch_buffer append_request::encode_again(std::span<const std::uint32_t> rows,
                                          std::uint32_t partition) const {
  std::vector<record> some;
  std::vector<const record*> wanted;
  some.reserve(rows.size());
  for (auto row : rows)
    wanted.push_back(&some.emplace_back(to_record((*this)[row])));
  return {wanted, partition};
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
  assert(gone.size() == places.size());
  for (auto& part : parts) {
    auto before = part.rows.size();
    std::erase_if(part.rows, [&](auto row) { return gone[row]; });
    if (part.rows.size() != before && !part.rows.empty())
      part.bytes = encode_again(part.rows, part.partition);
  }
  std::erase_if(parts, [](auto& part) { return part.rows.empty(); });
  std::vector<std::uint32_t> now_at(gone.size());
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < gone.size(); ++i) {
    now_at[i] = kept;
    if (gone[i])
      continue;
    id_hashes[kept] = id_hashes[i];
    content_hashes[kept] = content_hashes[i];
    if (!origins.empty() && kept != i)
      origins[kept] = std::move(origins[i]);
    ++kept;
  }
  places.resize(kept);
  id_hashes.resize(kept);
  content_hashes.resize(kept);
  if (!origins.empty())
    origins.resize(kept);
  for (std::uint32_t part = 0; part < parts.size(); ++part)
    for (std::uint32_t k = 0; k < parts[part].rows.size(); ++k) {
      auto& row = parts[part].rows[k];
      row = now_at[row];
      places[row] = {part, k};
    }
}

std::string append_request::raw_of(const row_origin& origin) const {
  if (origin.raw.empty() && kept && origin.kept != row_origin::not_kept)
    return kept->bytes(origin.kept);
  return origin.raw;
}

rejected_row append_request::rejected(std::size_t index, std::string rule, std::string field,
                                      std::string reason) const {
  rejected_row row{source, import, index + 1, 0, std::move(rule), std::move(field), std::move(reason), {}};
  if (index < origins.size()) {
    row.row = origins[index].row;
    row.byte_offset = origins[index].byte_offset;
    row.raw = raw_of(origins[index]);
    row.raw_is = origins[index].raw_is;
  }
  if (row.raw.empty()) {
    row.raw = to_json(to_record((*this)[index]));
    row.raw_is = raw_kind::record;
  }
  return row;
}

} // namespace troupe::ingest
