#pragma once

#include "services/feature_store/online/entity_state.hpp"
#include "services/feature_store/views/view.hpp"

#include "common/event/record.hpp"
#include "common/store/database.hpp"

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace troupe::feature_store {

struct engine_options {
  std::uint32_t replica = 0;
  std::uint32_t replicas = 1; ///< Only entities that rendezvous hashing gives to `replica` are kept.
  std::size_t cache_bytes = std::size_t{512}
                            << 20;   ///< Decoded states in memory; changed ones stay until flushed.
  std::size_t flush_states = 50'000; ///< Changed states that make `apply` flush by itself.
  std::size_t block_cache_bytes = std::size_t{32} << 20;
};

struct engine_counters {
  std::uint64_t records = 0; ///< Records applied to at least one view.
  std::uint64_t hits = 0;    ///< States found in memory.
  std::uint64_t misses = 0;  ///< States asked of the disk.
  std::uint64_t flushes = 0;
  std::uint64_t cached = 0; ///< States in memory.
  std::uint64_t cached_bytes = 0;
};

/// The states of all entities under all views: a write-back cache of decoded states over RocksDB.
///
/// Operation: `apply` changes states in memory; `flush` writes every changed state and, in the same atomic
/// write, how far each view has applied each partition. After a crash the log is applied again from there.
/// Writes are not synced: a lost tail is replayed. Concurrency: any thread; writers wait for each other, a
/// reader waits for a writer of the same 1/32 of the entities only. Limits: cache_bytes for unchanged states;
/// changed ones up to flush_states beyond that.
class state_engine {
public:
  /// States of views that are not in `views` any more are erased.
  static expected<std::unique_ptr<state_engine>>
  open(const std::filesystem::path& path, std::vector<feature_view> views, engine_options options = {});

  const std::vector<feature_view>& views() const noexcept { return views_; }
  std::optional<std::uint32_t> find_view(std::string_view name) const noexcept;
  /// The built-in view of users or items, where this engine keeps it.
  std::optional<std::uint32_t> find_record_view(entity_kind entity) const noexcept {
    return record_views_[static_cast<std::size_t>(entity)];
  }

  /// One past the last record of the partition that the view has applied.
  std::uint64_t applied(std::uint32_t view, std::uint32_t partition) const;
  /// By partition, the least over all views.
  std::vector<std::uint64_t> applied() const;
  /// By partition, the least over these views.
  std::vector<std::uint64_t> applied(std::span<const std::uint32_t> views) const;

  /// Applies what the given views have not applied yet. The batch must not begin beyond their applied offset.
  expected<void> apply(std::span<const std::uint32_t> views, const batch& records);

  /// Applies one record to every view, whatever the offsets. For replays that keep their own position.
  expected<void> apply(const feature_event& from);

  /// States changed since the last flush.
  std::size_t changed() const {
    std::lock_guard lock{writer_};
    return dirty_.size();
  }

  /// Writes changed states, offsets and `extra` (family 1, for the caller's own keys under "x") in one atomic
  /// write.
  expected<void> flush(std::span<const std::pair<std::string, std::string>> extra = {});

  /// Looks at the states of `ids` under a view: `look(index, state)` for each that exists. The state must not
  /// be used after the call; nothing else of the engine may be called in it.
  expected<void> visit(std::uint32_t view, std::span<const std::string_view> ids,
                       const std::function<void(std::size_t, entity_state&)>& look);

  /// Ids that have a state under any of the views, in byte order, after an id given before. Flushes first, so
  /// that what has been applied is found.
  expected<std::vector<std::string>> ids(std::span<const std::uint32_t> views, std::string_view after,
                                         std::size_t limit, bool& last);

  /// Largest event time applied; `never` when there is none.
  std::int64_t watermark() const noexcept { return watermark_.load(std::memory_order_relaxed); }

  struct raw_state {
    std::string key;    ///< `view@version/entity`.
    std::string sha256; ///< Of the state's content, whatever offsets its records have in this log.
  };
  /// States on disk in key order, after a key given before. Flushes first.
  expected<std::vector<raw_state>> dump(std::string_view after, std::size_t limit, bool& last);

  engine_counters counters() const;
  store::database& database() noexcept { return *db_; }
  std::uint32_t replica() const noexcept { return options_.replica; }
  std::uint32_t replicas() const noexcept { return options_.replicas; }

private:
  struct entry {
    std::uint64_t hash;
    std::uint32_t view;
    bool dirty = false;
    bool used = true;
    std::size_t charged = 0;
    std::string id;
    entity_state state;
  };
  struct probe {
    std::uint64_t hash;
    std::uint32_t view;
    std::string_view id;
  };
  struct entry_hash {
    using is_transparent = void;
    std::size_t operator()(const probe& of) const noexcept { return of.hash; }
    std::size_t operator()(const std::unique_ptr<entry>& of) const noexcept { return of->hash; }
  };
  struct entry_equal {
    using is_transparent = void;
    static probe key(const probe& of) noexcept { return of; }
    static probe key(const std::unique_ptr<entry>& of) noexcept { return {of->hash, of->view, of->id}; }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const noexcept {
      auto x = key(a), y = key(b);
      return x.hash == y.hash && x.view == y.view && x.id == y.id;
    }
  };
  struct shard {
    std::mutex mutex;
    std::unordered_set<std::unique_ptr<entry>, entry_hash, entry_equal> entries;
    std::vector<entry*> ring;
    std::size_t hand = 0;
    std::size_t bytes = 0;
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
  };

  static constexpr std::size_t shard_count = 32;
  static constexpr store::family_id states = 0, meta = 1;

  state_engine(std::unique_ptr<store::database> db, std::vector<feature_view> views, engine_options options);
  expected<void> load();
  shard& shard_of(std::uint64_t hash) noexcept { return shards_[hash >> 59]; }
  static std::uint64_t hash_of(std::uint32_t view, std::string_view id) noexcept;
  std::string state_key(std::uint32_t view, std::string_view id) const;
  entry& insert(shard& into, const probe& key, entity_state state);
  void evict(shard& from);
  expected<entry*> find_or_load(shard& in, const probe& key);
  expected<void> apply_to(std::uint32_t view, std::string_view id, const feature_event& from);
  expected<void> flush_locked(std::span<const std::pair<std::string, std::string>> extra);
  bool owns(std::string_view id) const noexcept;

  std::unique_ptr<store::database> db_;
  std::vector<feature_view> views_;
  std::array<std::optional<std::uint32_t>, 2> record_views_; ///< By entity_kind.
  std::vector<std::string> prefixes_;                        ///< By view: the first 16 bytes of its version.
  engine_options options_;
  std::array<shard, shard_count> shards_;

  mutable std::mutex writer_;
  std::vector<entry*> dirty_; ///< Guarded by writer_.
  std::atomic<std::uint64_t> flushes_{0};
  std::atomic<std::uint64_t> records_{0};
  std::atomic<std::int64_t> watermark_{never};

  mutable std::mutex applied_mutex_;
  std::vector<std::vector<std::uint64_t>> applied_; ///< By view, by partition.
};

} // namespace troupe::feature_store
