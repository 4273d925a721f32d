#include "services/ingest/log/log_blocks.hpp"

#include "services/ingest/log/log_layout.hpp"

#include <algorithm>
#include <utility>

namespace troupe::ingest {

namespace {

/// Of a block of columns: twice as many make it no smaller, half as many 3 % larger.
constexpr std::size_t packed_records = 4096;

/// A fetch that has so much of its bytes left takes another block of columns.
constexpr std::size_t least_rest = 64 << 10;

/// Goes through the blocks of a partition, at one instant: those of columns from `first` on, then those of
/// rows from `packed` on. What was erased before these two is not walked over: it may be most of what came.
class block_cursor {
public:
  block_cursor(const store::database& db, std::uint32_t partition, std::uint64_t first, std::uint64_t packed)
      : partition_{partition}, packed_{packed}, now_{db.take_snapshot()},
        columns_{scan(db, log_family, first)}, rows_{scan(db, rows_family, packed)} {}

  /// To the block that holds a record, which is the last one that begins at it or before.
  void seek(std::uint64_t offset) {
    auto key = block_key(partition_, offset);
    rows_.seek_at_or_before(key);
    columns_.seek_at_or_before(key);
    in_rows_ = rows_.valid() && (!columns_.valid() || rows_.key() > columns_.key());
    if (!in_rows_ && columns_.valid())
      rows_.seek(block_key(partition_, packed_)); // Where it goes on behind them.
  }
  bool valid() const { return at().valid(); }
  std::uint64_t first() const { return store::read_u64(at().key(), 4); }
  std::string_view value() const { return at().value(); }
  void next() {
    at().next();
    in_rows_ = in_rows_ || !columns_.valid();
  }
  void erase(store::write_batch& from) const { from.erase(in_rows_ ? rows_family : log_family, at().key()); }
  expected<void> check() const {
    TROUPE_CHECK(columns_.check());
    return rows_.check();
  }

private:
  store::cursor scan(const store::database& db, store::family_id family, std::uint64_t from) const {
    return db.scan(family, block_key(partition_, from), block_key(partition_ + 1, 0),
                   {.at = &now_, .fill_cache = false});
  }
  store::cursor& at() { return in_rows_ ? rows_ : columns_; }
  const store::cursor& at() const { return in_rows_ ? rows_ : columns_; }

  std::uint32_t partition_;
  std::uint64_t packed_;
  store::snapshot now_;
  store::cursor columns_, rows_;
  bool in_rows_ = false;
};

/// The records of one stored block, which may be of either sort.
expected<column_block> columns_of(std::string_view stored, std::string& made) {
  if (column_block::is_one(stored))
    return column_block::open(stored);
  auto rows = batch::trusted(chunk::copy(as_bytes(stored)));
  block_builder to;
  for (std::size_t i = 0; i < rows.size(); ++i)
    to.add(rows[i]);
  made = to.finish(rows.partition(), rows.base_offset());
  return column_block::open(made);
}

struct block_extent {
  std::uint64_t next = 0; ///< One past its last record.
  timestamp newest{};     ///< When its last record came.
};

expected<block_extent> extent_of(std::string_view stored) {
  block_extent found;
  if (column_block::is_one(stored)) {
    TROUPE_TRY(block, column_block::open(stored));
    TROUPE_TRY(times, block.times(block_field::ingest_time));
    found.next = block.base_offset() + block.size();
    for (auto each : times)
      found.newest = std::max(found.newest, from_micros(each));
    return found;
  }
  auto rows = batch::trusted(chunk::copy(as_bytes(stored)));
  found.next = rows.base_offset() + rows.size();
  for (std::size_t i = 0; i < rows.size(); ++i)
    found.newest = std::max(found.newest, from_micros(rows[i].ingest_time()));
  return found;
}

} // namespace

expected<void> log_blocks::recover(std::uint32_t partitions) {
  std::lock_guard lock{mutex_};
  for (auto [key, to] : {std::pair{first_key, &firsts_}, std::pair{packed_key, &packed_}}) {
    TROUPE_TRY(stored, db_.find(meta_family, key));
    *to = decode_offsets(stored.value_or(std::string{}));
    to->resize(partitions);
  }
  return {};
}

std::uint64_t log_blocks::at(const std::vector<std::uint64_t>& offsets, std::uint32_t partition) const {
  std::lock_guard lock{mutex_};
  return offsets.at(partition);
}

std::vector<std::uint64_t> log_blocks::firsts() const {
  std::lock_guard lock{mutex_};
  return firsts_;
}

expected<fetched> log_blocks::fetch(std::uint32_t partition, std::uint64_t offset, std::uint64_t end,
                                    std::size_t max_bytes) const {
  fetched result;
  result.next_offset = end;
  if (offset == end)
    return result;
  block_cursor blocks{db_, partition, at(firsts_, partition), at(packed_, partition)};
  blocks.seek(offset);
  if (!blocks.valid()) {
    TROUPE_CHECK(blocks.check());
    return fail(ec::not_found, "the record of partition {} at offset {} is not in the log any more",
                partition, offset);
  }
  std::size_t bytes = 0;
  for (; blocks.valid() && blocks.first() < end; blocks.next()) {
    auto stored = blocks.value();
    if (!column_block::is_one(stored)) {
      if (!result.batches.empty() && bytes + stored.size() > max_bytes)
        break;
      bytes += stored.size();
      result.batches.push_back(chunk::own(std::string{stored}));
      continue;
    }
    if (!result.batches.empty() && bytes + least_rest > max_bytes)
      break;
    TROUPE_TRY(block, column_block::open(stored));
    auto from = std::max(offset, block.base_offset());
    TROUPE_TRY(rows, block.rows(from, max_bytes - std::min(bytes, max_bytes)));
    bytes += rows.size();
    auto whole = from + batch::trusted(rows).size() == block.base_offset() + block.size();
    result.batches.push_back(std::move(rows));
    if (!whole)
      break;
  }
  TROUPE_CHECK(blocks.check());
  return result;
}

expected<void> log_blocks::each_block(std::uint32_t partition, std::uint64_t offset, std::uint64_t end,
                                      const std::function<expected<bool>(const column_block&)>& use) const {
  block_cursor blocks{db_, partition, at(firsts_, partition), at(packed_, partition)};
  blocks.seek(offset);
  if (!blocks.valid()) {
    TROUPE_CHECK(blocks.check());
    return fail(ec::not_found, "the record of partition {} at offset {} is not in the log any more",
                partition, offset);
  }
  std::string made;
  for (; blocks.valid() && blocks.first() < end; blocks.next()) {
    TROUPE_TRY(block, columns_of(blocks.value(), made));
    TROUPE_TRY(more, use(block));
    if (!more)
      return {};
  }
  return blocks.check();
}

void log_blocks::put_offsets(store::write_batch& to, std::string_view key,
                             std::vector<std::uint64_t> offsets) const {
  to.put(meta_family, key, encode_offsets(offsets));
}

bool log_blocks::pack_due(std::uint32_t partition, std::uint64_t end) const {
  return end - std::min(end, at(packed_, partition)) >= packed_records;
}

expected<std::size_t> log_blocks::pack(std::uint32_t partition, std::uint64_t end) {
  std::lock_guard alone{changing_};
  auto first = at(packed_, partition), next = first;
  if (end - std::min(end, first) < packed_records)
    return 0;
  store::write_batch change;
  block_builder to;
  std::vector<batch> rows; // The builder looks at them until it has finished.
  block_cursor from{db_, partition, at(firsts_, partition), at(packed_, partition)};
  from.seek(first);
  for (; from.valid() && from.first() < end && to.size() < packed_records; from.next()) {
    auto& block = rows.emplace_back(batch::trusted(chunk::own(std::string{from.value()})));
    if (block.partition() != partition || block.base_offset() != next)
      return fail(ec::corrupt,
                  "partition {} of the log has a hole at offset {}: the block there begins at {}", partition,
                  next, block.base_offset());
    for (std::size_t i = 0; i < block.size(); ++i)
      to.add(block[i]);
    next += block.size();
    from.erase(change);
  }
  TROUPE_CHECK(from.check());
  if (to.size() < packed_records)
    return 0;
  auto records = to.size();
  change.put(log_family, block_key(partition, first), to.finish(partition, first));
  std::vector<std::uint64_t> packed;
  {
    std::lock_guard lock{mutex_};
    packed = packed_;
  }
  packed[partition] = next;
  put_offsets(change, packed_key, packed);
  // What a power failure takes of this, it takes whole: the rows are there still.
  TROUPE_CHECK(db_.write(change, store::durability::buffered));
  std::lock_guard lock{mutex_};
  packed_ = std::move(packed);
  return records;
}

expected<std::uint64_t> log_blocks::trim(std::uint32_t partition, std::uint64_t sealed, timestamp older_than,
                                         const may_go_function& may_go) {
  std::lock_guard alone{changing_};
  auto begin = at(firsts_, partition), first = begin;
  store::write_batch change;
  block_cursor from{db_, partition, at(firsts_, partition), at(packed_, partition)};
  from.seek(first);
  for (; from.valid() && from.first() < sealed; from.next()) {
    TROUPE_TRY(extent, extent_of(from.value()));
    if (extent.next > sealed || extent.newest >= older_than || !may_go(partition, first, extent.next))
      break;
    from.erase(change);
    first = extent.next;
  }
  TROUPE_CHECK(from.check());
  if (first == begin)
    return 0;
  std::vector<std::uint64_t> firsts, packed;
  {
    std::lock_guard lock{mutex_};
    firsts = firsts_;
    packed = packed_;
  }
  firsts[partition] = first;
  packed[partition] = std::max(packed[partition], first);
  put_offsets(change, first_key, firsts);
  put_offsets(change, packed_key, packed);
  TROUPE_CHECK(db_.write(change, store::durability::buffered));
  std::lock_guard lock{mutex_};
  firsts_ = std::move(firsts);
  packed_ = std::move(packed);
  return first - begin;
}

expected<void> log_blocks::compact() {
  return db_.compact(log_family, {}, {});
}

} // namespace troupe::ingest
