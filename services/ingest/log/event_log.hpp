#pragma once

#include "services/ingest/log/append_request.hpp"
#include "services/ingest/log/dedup_index.hpp"
#include "services/ingest/log/lake_segments.hpp"
#include "services/ingest/log/log_blocks.hpp"
#include "services/ingest/log/metadata_store.hpp"
#include "services/ingest/log/row_quarantine.hpp"
#include "services/ingest/log/source_positions.hpp"

#include "common/core/error.hpp"
#include "common/store/database.hpp"

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace troupe::ingest {

struct log_options {
  std::uint32_t partitions = 8;                  ///< Of a new log; an existing one must have as many.
  std::chrono::microseconds allowed_lateness{0}; ///< An event older than watermark - this is late.
  std::size_t cache_bytes = std::size_t{64} << 20;
  std::size_t write_buffer_bytes = std::size_t{64} << 20;
  std::size_t group_bytes = std::size_t{8} << 20;  ///< Most that one commit takes.
  std::size_t queue_bytes = std::size_t{64} << 20; ///< Most that waits; above: ec::overloaded.
  dedup_options dedup{};
};

/// The event log: records in partitions with dense offsets, each id once.
///
/// Data model: one store; beside the records it holds which ids are known (`dedup_index`), how far each
/// source is (`positions`), the refused rows (`quarantine`), what is in the lake (`segments`) and small rows
/// (`metadata`). Operation: `append` queues a request; one writer thread merges what waits into one atomic,
/// synced write (group commit) and then tells each request. A request is in the log whole or not at all,
/// together with its position and its refused rows. The same id with the same content is a duplicate; with
/// other content it goes to quarantine, rule `duplicate_id`. What was encoded for the validator is what is
/// written; only a part that loses a record is encoded anew. Concurrency: every function is thread-safe.
/// `done` and `on_append` callbacks run on the writer thread: keep them short. Limits: `queue_bytes`; a full
/// disk fails appends with ec::disk_full until there is room; they may be sent again as they are.
class event_log {
public:
  using request_ptr = std::shared_ptr<append_request>;
  using done_function = std::function<void(expected<append_result>)>;

  static expected<std::unique_ptr<event_log>> open(const std::filesystem::path& folder, log_options opts);

  /// Commits what is queued, then closes.
  ~event_log();

  /// The request must not be changed until `done` was called; after an error it may be given again.
  void append(request_ptr request, done_function done);

  /// Waits for the answer.
  expected<append_result> append(append_request request);

  /// Records from `offset` on, or from before it; one where there is one, else about `max_bytes`. An offset
  /// behind the end is ec::conflict, one before the beginning ec::not_found.
  expected<fetched> fetch(std::uint32_t partition, std::uint64_t offset, std::size_t max_bytes) const;

  /// The same by column: calls `use` for one block after the other, as long as it says so, and gives the end
  /// of the partition when it was called.
  expected<std::uint64_t> each_block(std::uint32_t partition, std::uint64_t offset,
                                     const std::function<expected<bool>(const column_block&)>& use) const;

  /// Whether `pack` has something to do.
  bool pack_due() const;

  /// Writes records that have gathered anew as blocks of columns, about `most`. False: nothing is left to do.
  expected<bool> pack(std::size_t most);

  /// Takes away what is in the lake and came before `older_than`, as far as `may_go` says so: it looks
  /// whether the lake has it still. Gives how many records went.
  expected<std::uint64_t> trim(timestamp older_than, const may_go_function& may_go);

  /// Which log this is: drawn when it was made. Never 0.
  std::uint64_t identity() const noexcept { return identity_; }

  log_state state() const;
  std::uint64_t next_offset(std::uint32_t partition) const;
  std::uint32_t partitions() const noexcept { return opts_.partitions; }
  std::size_t queued_bytes() const;

  /// Called after each commit that added records.
  void on_append(std::function<void()> tell);

  source_positions& positions() noexcept { return positions_; }
  const source_positions& positions() const noexcept { return positions_; }
  const row_quarantine& quarantine() const noexcept { return quarantine_; }
  lake_segments& segments() noexcept { return segments_; }
  metadata_store& metadata() noexcept { return metadata_; }

private:
  struct waiting {
    request_ptr request;
    done_function done;
  };
  struct group;

  event_log(std::unique_ptr<store::database> db, log_options opts) : db_{std::move(db)}, opts_{opts} {}

  expected<void> recover();
  expected<std::uint64_t> checked_end(std::uint32_t partition, std::uint64_t offset) const;
  void run();
  void commit(std::vector<waiting> requests);
  expected<void> look_up(group& all) const;
  expected<append_result> take(group& all, append_request& request) const;
  bool held_from_before(group& all, const wire::Record& from) const;
  expected<source_state*> position_of(group& all, const append_request& request) const;
  void count(group& all, const wire::Record& rec, std::uint32_t partition, append_result& result) const;
  void refuse(group& all, const hash128& hash, std::optional<std::uint32_t> known, const rejected_row& row,
              append_result& result) const;
  void mark_replayed(group& all, const append_request& request, const append_result& result) const;
  void add_parts(group& all, append_request& request, const append_result& result) const;
  void finish(group& all) const;

  std::unique_ptr<store::database> db_;
  log_options opts_;
  std::unique_ptr<dedup_index> ids_; ///< The writer's alone.
  source_positions positions_{*db_};
  row_quarantine quarantine_{*db_};
  lake_segments segments_{*db_};
  metadata_store metadata_{*db_};
  log_blocks blocks_{*db_};
  std::uint64_t identity_ = 0;

  mutable std::mutex state_mutex_;
  log_state state_;
  std::vector<std::function<void()>> listeners_;

  mutable std::mutex queue_mutex_;
  std::condition_variable wake_;
  std::deque<waiting> queue_;
  std::size_t queued_bytes_ = 0;
  bool stop_ = false;
  std::thread writer_;
};

} // namespace troupe::ingest
