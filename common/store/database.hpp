#pragma once

#include "common/core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rocksdb {
class Iterator;
class WriteBatch;
} // namespace rocksdb

namespace troupe::store {

/// The index of a key space in `options::families`.
using family_id = std::size_t;

/// What a write survives. synced: power loss. buffered: the end of the process (kill -9), not that of the
/// machine.
enum class durability : std::uint8_t { synced, buffered };

struct options {
  std::vector<std::string> families; ///< Key spaces in a fixed order; new ones are added at the end only.
  std::vector<std::string>
      large_values; ///< Those of `families` whose values are mostly above 4 KiB: kept in blob files.
  std::vector<std::string>
      first_in_first_out; ///< Those of `large_values` that are erased about in the order in which they came.
  std::vector<std::string>
      point_lookups;  ///< Those of `families` that are read key by key: small blocks, quick to open. All
                      ///< others are read in ranges: larger blocks, packed closer.
  std::string layout; ///< Name and version of what is stored, such as "event-log 1"; checked on open.
  std::vector<std::string> older_layouts; ///< Those that this program reads, too: an open renames them.
  std::size_t cache_bytes = std::size_t{64} << 20;        ///< Of uncompressed blocks, for the whole database.
  std::size_t write_buffer_bytes = std::size_t{64} << 20; ///< Of unflushed writes, for the whole database.
  bool create = true;     ///< Create what does not exist yet; otherwise ec::not_found.
  bool read_only = false; ///< Opens beside a running writer; sees what was there at open.
};

/// Writes that happen together or not at all. Not thread-safe.
class write_batch {
public:
  write_batch();
  ~write_batch();
  write_batch(write_batch&&) noexcept;
  write_batch& operator=(write_batch&&) noexcept;

  void put(family_id family, std::string_view key, std::string_view value);
  void erase(family_id family, std::string_view key);

  /// Erases from <= key < to.
  void erase_range(family_id family, std::string_view from, std::string_view to);

  std::size_t bytes() const noexcept;
  std::size_t count() const noexcept;
  bool empty() const noexcept { return count() == 0; }
  void clear();

private:
  friend class database;
  std::unique_ptr<rocksdb::WriteBatch> impl_;
};

/// A view of the whole database at one instant. Must be let go of before its database.
class snapshot {
public:
  snapshot() = default;

private:
  friend class database;
  std::shared_ptr<const void> impl_;
};

struct scan_options {
  const snapshot* at = nullptr; ///< nullptr: what is there when the scan begins.
  bool fill_cache = true;       ///< False for long scans, so that they do not push out what readers use.
  std::size_t read_ahead = 0;   ///< Bytes; 0 lets RocksDB decide.
};

/// A position in the key order of one family, bounded by [from, to). Views stay valid until the position
/// moves.
///
///   for (auto at = db.scan(family, from, to); at.valid(); at.next()) use(at.key(), at.value());
///   TROUPE_CHECK(at.check());  // a read error ends a scan early
class cursor {
public:
  ~cursor();
  cursor(cursor&&) noexcept;
  cursor& operator=(cursor&&) noexcept;

  bool valid() const;
  std::string_view key() const;
  std::string_view value() const;
  void next();
  void previous();
  void seek(std::string_view key);

  /// The last key <= `key`.
  void seek_at_or_before(std::string_view key);

  /// Whether every step so far could be read.
  expected<void> check() const;

private:
  friend class database;
  struct bounds;
  cursor(std::unique_ptr<bounds> limits, std::unique_ptr<rocksdb::Iterator> impl, std::string path);
  std::unique_ptr<bounds> bounds_;
  std::unique_ptr<rocksdb::Iterator> impl_;
  std::string path_;
};

/// An ordered key-value store on disk: RocksDB behind values and errors. All functions but the
/// constructor-like `open` are thread-safe; they block on the disk.
///
/// A write for which there is no room, or would be none to flush it, fails with ec::disk_full and changes
/// nothing; writing goes on as soon as there is room (a few MiB more than what is in memory are always left
/// free).
class database {
public:
  /// Fails with ec::unsupported_version when the folder holds another layout, ec::corrupt, ec::io_failed or
  /// ec::disk_full.
  static expected<std::unique_ptr<database>> open(const std::filesystem::path& path, options opts);

  ~database();
  database(const database&) = delete;
  database& operator=(const database&) = delete;

  expected<std::optional<std::string>> find(family_id family, std::string_view key,
                                            const snapshot* at = nullptr) const;

  /// One answer per key, in order. One pass over the index and filter blocks: far cheaper than as many
  /// `find`s.
  expected<std::vector<std::optional<std::string>>>
  find_many(family_id family, std::span<const std::string_view> keys, const snapshot* at = nullptr) const;

  /// As find_many without copies: calls `visit(index, value)` for each key that exists; the value is valid
  /// during the call only.
  expected<void> visit_many(family_id family, std::span<const std::string_view> keys,
                            const std::function<void(std::size_t, std::string_view)>& visit,
                            const snapshot* at = nullptr) const;

  /// Makes the batch durable in one step. The batch stays as it is: `clear` it before it is used again.
  expected<void> write(write_batch& batch, durability mode);

  /// A batch of one.
  expected<void> put(family_id family, std::string_view key, std::string_view value, durability mode);

  /// Keys in [from, to); an empty `to` means no upper end. The cursor stands at the first.
  cursor scan(family_id family, std::string_view from = {}, std::string_view to = {},
              scan_options options = {}) const;

  snapshot take_snapshot() const;

  /// Writes everything in memory to table files.
  expected<void> flush();

  /// Gives the room of what was erased in [from, to) back to the disk, now. Blocks for as long as it takes to
  /// write anew what is left there.
  expected<void> compact(family_id family, std::string_view from, std::string_view to);

  /// Bytes of live files on disk.
  std::uint64_t disk_bytes() const;

  /// Roughly how many keys a family holds.
  std::uint64_t estimated_keys(family_id family) const;

  const std::filesystem::path& path() const noexcept;

private:
  struct state;
  explicit database(std::unique_ptr<state> impl);
  std::unique_ptr<state> impl_;
};

/// Big-endian numbers keep numeric order in keys.
void append_u32(std::string& key, std::uint32_t number);
void append_u64(std::string& key, std::uint64_t number);
std::uint32_t read_u32(std::string_view bytes, std::size_t at = 0) noexcept;
std::uint64_t read_u64(std::string_view bytes, std::size_t at = 0) noexcept;

/// The smallest key above every key that starts with `prefix`; empty when there is none. The `to` of a prefix
/// scan.
std::string prefix_end(std::string_view prefix);

} // namespace troupe::store
