#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <utility>

namespace troupe {

/// One value that many threads read and one replaces: a snapshot, never changed once published. Any thread.
/// A reader never waits for the writer's work, only while another thread copies the pointer; what it got
/// stays as it is for as long as it holds it. Who holds a value last frees it: a writer that must not have
/// that happen on a serving thread keeps the old one until it is alone with it.
template <class T>
class published {
public:
  /// Empty: `get` gives null.
  published() = default;
  explicit published(std::shared_ptr<const T> first) noexcept : value_{std::move(first)} {}
  published(const published&) = delete;
  published& operator=(const published&) = delete;

  std::shared_ptr<const T> get() const noexcept {
    turn mine{busy_};
    return value_;
  }

  void set(std::shared_ptr<const T> next) noexcept {
    turn mine{busy_};
    value_.swap(next);
  } // What stood before goes when `next`, a parameter, does: after the turn.

private:
  // std::atomic<std::shared_ptr> would say the same, but a reader of libstdc++ 12 leaves its lock bit with a
  // relaxed store: a data race, which ThreadSanitizer reports.
  struct turn {
    explicit turn(std::atomic_flag& flag) noexcept : busy{flag} {
      while (busy.test_and_set(std::memory_order_acquire))
        std::this_thread::yield();
    }
    ~turn() { busy.clear(std::memory_order_release); }
    turn(const turn&) = delete;
    turn& operator=(const turn&) = delete;
    std::atomic_flag& busy;
  };

  mutable std::atomic_flag busy_;
  std::shared_ptr<const T> value_;
};

} // namespace troupe
