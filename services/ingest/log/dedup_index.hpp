#pragma once

#include "services/ingest/log/dedup_run.hpp"
#include "services/ingest/log/dedup_table.hpp"

#include "common/core/error.hpp"
#include "common/core/hash.hpp"
#include "common/core/time.hpp"
#include "common/store/database.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::ingest {

struct dedup_options {
  std::chrono::seconds keep_for{30 * 24 * 3600}; ///< Ids are known for so long after they came, at least.
  std::size_t run_ids = std::size_t{1} << 19;    ///< So many become a run.
};

/// Which ids and which refused rows the log has met, by hash, for a stated time.
///
/// Data model: what is new lies in memory, and in the store as one row of keys a commit, so that a commit
/// writes keys in the order in which they come, nowhere else. From `run_ids` on they become a run: a sorted
/// file behind a filter (`dedup_run`), named in the store in the write that lets go of their rows. Eight runs
/// of like size become one. A run goes as a whole when the newest of its ids has been known for `keep_for`;
/// none holds ids that came further apart than a quarter of that. What an id costs thus depends on how many
/// runs there are, which grows with the logarithm of the ids held. Ids of logs of before lie in the family
/// `dedup` and stay known there for `keep_for` after the log was first opened by this program.
///
/// Concurrency: one thread at a time. Runs are written and merged on two threads of their own; what comes
/// meanwhile waits only when memory is full. Memory: at most 96 MiB, besides the mapped files. Hashes: 64
/// bits of the id, 32 of the content; where n ids are held a new one is taken for another in n of 2^64 cases,
/// and then goes to quarantine.
class dedup_index {
public:
  static expected<std::unique_ptr<dedup_index>> open(store::database& db, const std::filesystem::path& folder,
                                                     dedup_options options);

  /// Ends what is being written.
  ~dedup_index();

  /// What is known of `ids`, in their order: what came with them, or nothing. Not of those met since the last
  /// `committed`: `meet` tells that.
  expected<std::vector<std::optional<std::uint32_t>>> look_up(std::span<const hash128> ids);

  /// The content that an id is known with; nothing where it is new: known from now on. `before`: what
  /// `look_up` said of it.
  std::optional<std::uint32_t> meet(const hash128& id, std::uint32_t content,
                                    std::optional<std::uint32_t> before);

  /// Whether the log is of before and holds an id by the key of that time.
  expected<std::optional<std::uint32_t>> find_old(const hash128& id) const;
  bool holds_old() const noexcept { return old_until_.has_value(); }

  /// That key goes; what `look_up` said of it is void.
  void remove_old(store::write_batch& from, const hash128& id);

  /// Adds what was met to the log's own write, with what has become of the runs.
  expected<void> add_to(store::write_batch& batch);

  /// That was written; or was not: what was met is forgotten.
  void committed();
  void rolled_back();

  /// How a content's hash is kept: never 0, which says that there is none.
  static std::uint32_t content_of(std::uint64_t content_hash) noexcept {
    auto low = static_cast<std::uint32_t>(content_hash);
    return low == 0 ? 1 : low;
  }

private:
  /// A run, and when the first and the last of its ids came.
  struct held_run {
    std::uint64_t number = 0;
    std::int64_t oldest = 0, newest = 0;
    std::shared_ptr<const dedup_run> run;
  };
  /// Ids in memory: rows of the store before `end` hold them, too.
  struct recent {
    dedup_table table;
    std::uint64_t end = 0;
    std::int64_t oldest = 0, newest = 0;
  };
  /// What a thread of its own makes: of the frozen ids, or of the runs `from` to `to`.
  struct work {
    std::size_t from = 0, to = 0;
    held_run made;
    std::future<expected<std::shared_ptr<const dedup_run>>> result;
  };

  dedup_index(store::database& db, std::filesystem::path folder, dedup_options options)
      : db_{db}, folder_{std::move(folder)}, options_{options} {}

  expected<void> recover();
  expected<void> remove_strangers() const;
  std::filesystem::path path_of(std::uint64_t number) const;
  bool old_has_expired() const noexcept { return old_until_ && *old_until_ < now_; }
  void collect(std::optional<work>& job, bool wait);
  void freeze();
  void merge();
  void start(std::optional<work>& job, work what, std::vector<std::shared_ptr<const dedup_run>> merged);
  void expire();
  std::int64_t longest_span() const noexcept;
  std::string encoded() const;

  store::database& db_;
  std::filesystem::path folder_;
  dedup_options options_;

  std::vector<held_run> runs_; ///< The oldest first.
  std::shared_ptr<const recent> frozen_;
  recent active_;
  std::vector<dedup_entry> met_; ///< Since the last commit; in `active_` already.
  std::int64_t now_ = 0;
  std::uint64_t next_run_ = 1;
  std::uint64_t first_row_ = 0; ///< Rows before it are in runs.
  std::optional<std::int64_t> old_until_;
  std::set<hash128> removed_; ///< Old keys that this commit takes away.

  bool changed_ = false;                    ///< The store is to be told of the runs.
  std::vector<std::filesystem::path> gone_; ///< Files that nothing names once it is.
  std::optional<work> freezing_, merging_;
  std::optional<error> failed_; ///< Why the frozen ids could not be written last.
  deadline::clock::time_point try_again_{};
};

} // namespace troupe::ingest
