#pragma once

#include "services/ingest/log/column_block.hpp"
#include "services/ingest/log/log_types.hpp"

#include "common/core/error.hpp"
#include "common/store/database.hpp"

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

namespace troupe::ingest {

/// Whether records [first, next) of a partition may leave the log.
using may_go_function = std::function<bool(std::uint32_t partition, std::uint64_t first, std::uint64_t next)>;

/// The blocks of the log, by partition and offset of their first record.
///
/// Data model: a commit leaves blocks of rows (wire::Batch), as they came, in a family of their own, whose
/// room comes back soon. `pack` writes what has gathered anew as blocks of columns, from the beginning of the
/// log on: first all that is columns, then what is rows still. `trim` takes blocks away from the beginning.
/// Each is one atomic write, so that a reader sees the log before or after it, and a crash between two of
/// them leaves nothing to mend. Concurrency: every function is thread-safe; `pack` and `trim` wait for one
/// another, readers wait for nobody.
class log_blocks {
public:
  explicit log_blocks(store::database& db) : db_{db} {}

  /// Finds where the log begins and how far it is packed. Once, before anything else.
  expected<void> recover(std::uint32_t partitions);

  /// Records of a partition from `offset` on, as rows, in whole blocks where they lie as rows; at least one
  /// record where there is one before `end`, else `max_bytes`, give or take a record. ec::not_found before
  /// the beginning of the log.
  expected<fetched> fetch(std::uint32_t partition, std::uint64_t offset, std::uint64_t end,
                          std::size_t max_bytes) const;

  /// The blocks of columns from the one that holds `offset` on, as long as `use` says so. A block of rows is
  /// made one for the call.
  expected<void> each_block(std::uint32_t partition, std::uint64_t offset, std::uint64_t end,
                            const std::function<expected<bool>(const column_block&)>& use) const;

  /// Whether so much waits in a partition that ends at `end` that `pack` makes a block of it.
  bool pack_due(std::uint32_t partition, std::uint64_t end) const;

  /// Makes one block of columns of a partition that ends at `end`, where enough waits. Gives its records.
  expected<std::size_t> pack(std::uint32_t partition, std::uint64_t end);

  /// Takes away the blocks of a partition whose records are all before `sealed` and came before
  /// `older_than`, as far as `may_go` says so of a block's records. Gives how many records went.
  expected<std::uint64_t> trim(std::uint32_t partition, std::uint64_t sealed, timestamp older_than,
                               const may_go_function& may_go);

  /// Gives the room of what was trimmed back to the disk.
  expected<void> compact();

  /// By partition, the first record that is in the log.
  std::vector<std::uint64_t> firsts() const;

private:
  std::uint64_t at(const std::vector<std::uint64_t>& offsets, std::uint32_t partition) const;
  void put_offsets(store::write_batch& to, std::string_view key, std::vector<std::uint64_t> offsets) const;

  store::database& db_;
  std::mutex changing_; ///< Held by `pack` and `trim`.
  mutable std::mutex mutex_;
  std::vector<std::uint64_t> firsts_;
  std::vector<std::uint64_t> packed_; ///< By partition, the first record that is in a block of rows.
};

} // namespace troupe::ingest
