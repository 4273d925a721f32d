#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace troupe {

/// Turns SIGTERM and SIGINT into a call. Make it before any other thread starts: it blocks both signals for
/// all threads made afterwards. A second signal, a second later or more, ends the process at once: who
/// supervises us sends two. One per process.
class signal_watch {
public:
  signal_watch();
  ~signal_watch();
  signal_watch(const signal_watch&) = delete;
  signal_watch& operator=(const signal_watch&) = delete;

  bool asked_to_stop() const noexcept { return asked_; }

  /// Called once, on the thread of this object, at the first signal; at once when it was there before.
  void on_stop(std::function<void()> tell);

  /// From now on the process has so long to end by itself; then it is ended with exit code 1.
  void end_within(std::chrono::milliseconds span);

private:
  void run();

  std::atomic<bool> asked_ = false;
  std::int64_t last_ms_ = 0;             ///< When the last signal came; of the thread.
  std::atomic<std::int64_t> end_at_ = 0; ///< Of the steady clock, in milliseconds; 0: no limit.
  std::mutex mutex_;
  std::function<void()> tell_;
  int signals_ = -1;
  int caught_ = -1; ///< What threads caught that do not block the signals.
  int wake_ = -1;
  std::atomic<bool> quit_ = false;
  std::thread thread_;
};

} // namespace troupe
