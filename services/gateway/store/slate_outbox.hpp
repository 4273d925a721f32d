#pragma once

#include "services/gateway/store/request_log.hpp"

#include "common/core/bytes.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace troupe::gateway {

struct outbox_counters {
  std::uint64_t waiting = 0; ///< Answers whose slates are not in the log yet.
  std::uint64_t sent = 0;    ///< Records the log has acknowledged: slates, and impressions of before.
  std::uint64_t dropped = 0; ///< Answers whose slates were not kept: the outbox was full, or the disk.
  std::uint64_t refused = 0; ///< Records that the log refused for good.
};

/// Slates on their way into the log: written before their answer is given (a transactional outbox).
///
/// An answer's slate is encoded once, as a batch of one record, and goes to the log as these bytes. What an
/// older version has left, batches of an impression per item, goes the same way.
///
/// Operation: entries that come together are written together and synced by one thread, which then tells;
/// where they come often it waits half a millisecond for more. `slate_sender` takes them in order and removes
/// what the log has acknowledged. Their ids make a repeat harmless, so a kill at any step loses none and adds
/// none. Concurrency: any thread; `next` and `remove` from one caller at a time. Limits: `bound` answers
/// waiting; more are refused, counted, and the caller is told.
class slate_outbox {
public:
  struct options {
    std::size_t bound = 100'000;
    bool sync = true;
  };
  /// Called once, on the thread that writes: must hand the word on and return at once.
  using told = std::function<void(bool)>;

  static expected<std::unique_ptr<slate_outbox>> open(std::shared_ptr<store::database> in, options options);
  ~slate_outbox();
  slate_outbox(const slate_outbox&) = delete;
  slate_outbox& operator=(const slate_outbox&) = delete;

  /// Keeps the slate of one answer, a wire::Batch (empty: it has none), and `beside` in the same step. `then`
  /// says whether the slate is safe; `beside` is written also where there is no room for it.
  void append(chunk slate, std::vector<store_row> beside, told then);

  /// Called after each group that brought slates, on the thread that writes. Set it before the first
  /// `append`.
  void on_commit(std::function<void()> tell);

  struct page {
    chunk records; ///< One wire::Batch of all.
    std::size_t count = 0;
    std::vector<std::uint64_t> answers; ///< Their numbers in the outbox.
    std::uint64_t damaged = 0;          ///< Answers that could not be read: they are given up.
    bool more = false;                  ///< Others wait behind them.
  };
  /// The first answers that wait, until they are `most` records or more; no more than `most_bytes` of them,
  /// but the first whatever its size. Blocks.
  page next(std::size_t most, std::size_t most_bytes);
  /// Forgets a page; `refused` of its records the log did not take. Blocks. Where the disk does not, it is
  /// sent again after the next start.
  expected<void> remove(const page& done, std::uint64_t refused);

  outbox_counters counters() const noexcept;

  /// Ends the thread; what is waiting is sent after the next start.
  void stop();

private:
  struct pending {
    chunk slate; ///< Empty: none, or no room for it.
    bool kept = false;
    std::vector<store_row> beside;
    told then;
  };

  slate_outbox(std::shared_ptr<store::database> in, options options)
      : db_{std::move(in)}, options_{options} {}
  void commit_loop();

  std::shared_ptr<store::database> db_;
  options options_;
  std::function<void()> committed_tell_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<pending> queue_;
  std::uint64_t next_ = 1;      ///< Number of the next answer.
  std::uint64_t first_ = 1;     ///< Of the first that may still be there.
  std::uint64_t committed_ = 1; ///< One past the last on disk.
  std::atomic<std::uint64_t> waiting_{0}, sent_{0}, dropped_{0}, refused_{0};
  bool stopping_ = false;
  std::thread committer_;
};

} // namespace troupe::gateway
