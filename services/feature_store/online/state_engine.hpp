#pragma once

#include "services/feature_store/online/change_log.hpp"
#include "services/feature_store/online/entity_state.hpp"
#include "services/feature_store/online/entity_table.hpp"
#include "services/feature_store/views/view.hpp"

#include "common/event/record.hpp"
#include "common/store/database.hpp"

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::feature_store {

struct engine_options {
  std::uint32_t replica = 0;
  std::uint32_t replicas = 1; ///< Only entities that rendezvous hashing gives to `replica` are kept.
  /// Of states in memory, those not yet written included.
  std::size_t cache_bytes = std::size_t{512} << 20;
  /// Changed states that make `apply` flush by itself; as many as take a quarter of cache_bytes, or 64 MiB,
  /// do, too.
  std::size_t flush_states = 250'000;
  std::size_t block_cache_bytes = std::size_t{32} << 20;
};

struct engine_counters {
  std::uint64_t records = 0; ///< Records applied to at least one view.
  std::uint64_t hits = 0;    ///< Entities found in memory.
  std::uint64_t misses = 0;  ///< Entities asked of the disk.
  std::uint64_t flushes = 0;
  std::uint64_t cached = 0; ///< States in memory.
  std::uint64_t cached_bytes = 0;
};

/// The states of all entities under all views: a write-back cache of states, in the bytes that they are on
/// disk, over RocksDB.
///
/// Operation: `apply` changes states in memory, each once for all records of a batch about it; `flush` writes
/// every changed state and, in the same atomic write, how far each view has applied each partition. After a
/// crash the log is applied again from there. Writes are not synced: a lost tail is replayed. Where a batch
/// cannot be applied to the end, nothing is applied or written any more: applied again, it would count twice.
/// What is in memory can be read; opened anew, the engine goes on from what is on disk. Concurrency: any
/// thread; writers wait for each other, a reader waits for a writer of the same 1/32 of the entities only.
/// Limits: cache_bytes, beyond which states go that have not been used of late; what one batch changes comes
/// on top while it is applied, and a flush copies what it writes.
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
  std::size_t changed() const noexcept { return changed_states_.load(std::memory_order_relaxed); }

  /// Writes changed states, offsets and `extra` (family 1, for the caller's own keys under "x") in one atomic
  /// write.
  expected<void> flush(std::span<const std::pair<std::string, std::string>> extra = {});

  /// Is shown a state: of which id, under which of the views asked for, by their index; and its bytes, which
  /// must not be used after the call. Nothing else of the engine may be called in it.
  using look = std::function<expected<void>(std::size_t id, std::size_t view, std::string_view state)>;

  /// Drops states that give no value any more at `now` nor later, of the next so many on disk, and begins
  /// again behind the last. What it drops is what reading would find missing, or stale: those of views with a
  /// ttl whose features all forget (feature_operator::forgets), and whose newest event lies further back than
  /// ttl and windows reach. Gives how many they were.
  expected<std::size_t> expire(std::int64_t now, std::size_t most);

  /// Looks at the states of `ids` under `views`, of each that exists, in no order.
  expected<void> visit(std::span<const std::uint32_t> views, std::span<const std::string_view> ids,
                       const look& look_at);

  /// Ids that have a state under any of the views, in byte order, after an id given before. Flushes first, so
  /// that what has been applied is found.
  expected<std::vector<std::string>> ids(std::span<const std::uint32_t> views, std::string_view after,
                                         std::size_t limit, bool& last);

  /// Entities that these views have changed since a place: see change_log. What was `applied` before the call
  /// is in it.
  changed_entities changes(std::string_view since, std::span<const std::uint32_t> views, bool events,
                           std::size_t limit);

  /// Largest event time applied; `never` when there is none.
  std::int64_t watermark() const noexcept { return watermark_.load(std::memory_order_relaxed); }

  struct raw_state {
    std::string key;    ///< `view@version/entity`.
    std::string sha256; ///< Of the state's content, whatever offsets its records have in this log.
  };
  /// States on disk in key order, after a key given before, but for those that `expire` may drop at the
  /// watermark. Flushes first.
  expected<std::vector<raw_state>> dump(std::string_view after, std::size_t limit, bool& last);

  engine_counters counters() const;
  store::database& database() noexcept { return *db_; }
  std::uint32_t replica() const noexcept { return options_.replica; }
  std::uint32_t replicas() const noexcept { return options_.replicas; }

private:
  /// Up to entity_table::views_per_group views of one kind of entity: what is in memory of an entity lies
  /// together.
  struct view_group {
    entity_kind entity;
    std::vector<std::uint32_t> views;
  };
  struct place_of_view {
    std::uint32_t group;
    std::uint32_t bit;
  };
  /// The views that take events of a type, by group a bit each, and by view their features that do. Own
  /// records are such a type, too.
  struct event_type {
    std::string name;
    std::vector<std::uint32_t> views;
    std::vector<std::vector<std::uint16_t>> features;
  };
  struct shard {
    mutable std::mutex mutex;
    entity_table entities;
    std::vector<entity_block*> changed;
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;
  };
  /// An event for an entity, and the views of a group that take it.
  struct touch {
    std::uint32_t event;
    std::uint32_t type; ///< In `types_`.
    std::uint32_t views;
    std::uint32_t next; ///< The next of the same entity; none: no_touch.
  };
  static constexpr std::uint32_t no_touch = ~std::uint32_t{0};
  /// All events of a batch for one entity.
  struct entity_run {
    std::uint64_t hash;
    std::uint32_t group;
    std::uint32_t views; ///< That take any of them.
    std::uint32_t first, last;
  };
  /// Which views of a group events are applied to.
  struct asked_views {
    std::uint32_t views = 0;
    std::uint64_t from_all = 0; ///< From here on all of them take an event.
    std::array<std::uint64_t, entity_table::views_per_group> from{};
  };
  /// A state that is to be read before events are applied to it.
  struct wanted_state {
    std::string key;
    std::size_t run; ///< Its place in `order_`.
    std::uint32_t bit;
  };

  static constexpr std::size_t shard_count = 32;
  static constexpr store::family_id states = 0, meta = 1;

  state_engine(std::unique_ptr<store::database> db, std::vector<feature_view> views, engine_options options);
  void group_views();
  expected<void> load();
  shard& shard_of(std::uint64_t hash) noexcept { return shards_[hash >> 59]; }
  static std::uint64_t hash_of(std::uint32_t group, std::string_view id) noexcept;
  std::string state_key(std::uint32_t view, std::string_view id) const;
  std::string_view id_of(const entity_run& of) const noexcept {
    return events_[touches_[of.first].event].entity(groups_[of.group].entity);
  }
  std::size_t type_of(const feature_event& from);
  expected<void> apply_events(std::span<const std::uint32_t> views, std::span<const std::uint64_t> from);
  std::uint64_t group_events();
  entity_run& run_of(std::uint64_t hash, std::uint32_t group, std::string_view id);
  void add_touch(entity_run& run, const touch& fresh);
  void order_runs();
  expected<void> load_untouched();
  expected<void> check_whole() const;
  expected<void> apply_run(std::size_t at, std::size_t& loaded);
  entity_block* put(shard& in, entity_block* old, std::uint64_t hash, std::uint32_t group,
                    std::string_view id, std::uint32_t known, std::span<const state_change> changes);
  void evict(shard& from);
  expected<void> visit_group(std::uint32_t group, std::span<const std::size_t> places, std::uint32_t wanted,
                             std::span<const std::string_view> ids, const look& look_at);
  expected<void> read_missing(std::uint32_t group, std::span<const std::size_t> places, std::uint32_t wanted,
                              std::span<const std::string_view> ids, std::span<const std::uint32_t> missing,
                              std::uint64_t flushes, const look& look_at);
  expected<void> flush_locked(std::span<const std::pair<std::string, std::string>> extra);
  bool owns(std::string_view id) const noexcept;

  std::unique_ptr<store::database> db_;
  std::vector<feature_view> views_;
  std::array<std::optional<std::uint32_t>, 2> record_views_; ///< By entity_kind.
  std::vector<std::string> prefixes_;                        ///< By view: the first 16 bytes of its version.
  std::vector<view_group> groups_;
  std::vector<place_of_view> places_; ///< By view.
  std::vector<std::uint32_t> all_views_;
  std::vector<std::optional<std::int64_t>>
      reaches_;                   ///< By view: how long a state gives values, if not for ever.
  std::vector<event_type> types_; ///< Own records of users and of items, then types of events.
  engine_options options_;
  std::array<shard, shard_count> shards_;
  /// There may be states on disk that are not in memory.
  std::atomic<bool> more_on_disk_{true};

  mutable std::mutex writer_;
  change_log changes_; ///< Noted under writer_.
  // What a batch needs while it is applied, kept for the next; under writer_.
  std::vector<entity_state> open_; ///< By view.
  std::vector<feature_event> events_;
  std::vector<asked_views> asked_; ///< By group.
  std::vector<touch> touches_;
  std::vector<entity_run> runs_;
  std::vector<std::uint32_t> run_slots_; ///< Open addressing by hash: one more than the index of a run.
  std::vector<std::uint32_t> order_;     ///< Of runs, by shard.
  std::vector<wanted_state> wanted_;
  std::vector<std::string> loaded_; ///< What there is of `wanted_`.
  std::string encoded_;
  std::size_t last_type_ = 0;
  std::optional<error> half_applied_; ///< Why a batch was applied to some of its entities only.
  std::string expire_from_;           ///< Key, where the next search for what has expired begins.

  std::atomic<std::size_t> changed_states_{0};
  std::atomic<std::size_t> changed_bytes_{0};
  std::atomic<std::uint64_t> flushes_{0};
  std::atomic<std::uint64_t> records_{0};
  std::atomic<std::int64_t> watermark_{never};

  mutable std::mutex applied_mutex_;
  std::vector<std::vector<std::uint64_t>> applied_; ///< By view, by partition.
};

} // namespace troupe::feature_store
