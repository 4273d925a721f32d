#pragma once

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"
#include "common/store/database.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace troupe::gateway {

struct journal_options {
  std::size_t most_answers = 100'000;
  bool sync = true;
  std::size_t recent = 1'000;
  std::chrono::seconds ttl{3'600};
};

/// What is kept of one answer before it is given.
struct journal_entry {
  std::string request_id;
  std::vector<record> impressions;
  std::string inspection; ///< JSON.
};

struct journal_counters {
  std::uint64_t waiting = 0; ///< Answers whose impressions are not in the log yet.
  std::uint64_t sent = 0;    ///< Impressions the log has acknowledged.
  std::uint64_t dropped = 0; ///< Answers whose impressions were not kept: the queue was full, or the disk.
  std::uint64_t refused = 0; ///< Impressions that the log refused for good.
};

/// The memory of the gateway: impressions on their way into the log, what happened to recent requests, and
/// small facts that outlive a restart.
///
/// Operation: entries that come together are written together, synced, then told; a second thread hands the
/// impressions to the log in order, many answers at a time, and erases what is acknowledged. Their ids make a
/// repeat harmless, so a kill at any step loses none and adds none. Concurrency: any thread. Limits:
/// `most_answers` waiting; more are refused, counted, and the caller is told.
class journal {
public:
  /// Appends to the log; blocks; gives how many records were refused. Run on the journal's own thread.
  using sender = std::function<expected<std::uint64_t>(const std::vector<record>&)>;

  static expected<std::unique_ptr<journal>> open(const std::filesystem::path& path, journal_options options,
                                                 sender send);
  ~journal();
  journal(const journal&) = delete;
  journal& operator=(const journal&) = delete;

  /// Calls `then` once on the journal's thread: true when the impressions are safe.
  void keep(journal_entry entry, std::function<void(bool)> then);

  expected<std::optional<std::string>> inspect(const std::string& request_id) const;

  /// `now` the first time `id` is seen, and the same instant ever after (for a day).
  timestamp first_time(const std::string& id, timestamp now);

  expected<std::optional<std::string>> fact(std::string_view name) const;
  expected<void> set_fact(std::string_view name, std::string_view value);

  /// Forgets what is older than its time. Called now and then.
  expected<void> expire(timestamp now);

  journal_counters counters() const noexcept;

  /// Ends both threads; what is waiting is sent after the next start.
  void stop();

private:
  struct pending {
    journal_entry entry;
    bool kept = false;
    std::function<void(bool)> then;
  };

  journal(std::unique_ptr<store::database> db, journal_options options, sender send);
  void commit_loop();
  void send_loop();

  std::unique_ptr<store::database> db_;
  journal_options options_;
  sender send_;
  mutable std::mutex mutex_;
  std::condition_variable wake_commit_, wake_send_;
  std::deque<pending> queue_;
  std::deque<std::string> recent_order_;
  std::unordered_map<std::string, std::string> recent_;
  std::mutex times_mutex_;
  std::uint64_t next_ = 1;      ///< Number of the next entry.
  std::uint64_t first_ = 1;     ///< Of the first that may still be there.
  std::uint64_t committed_ = 1; ///< One past the last on disk.
  std::atomic<std::uint64_t> waiting_{0}, sent_{0}, dropped_{0}, refused_{0};
  bool stopping_ = false;
  std::thread committer_, sending_;
};

} // namespace troupe::gateway
