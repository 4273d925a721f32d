#pragma once

#include "common/core/time.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>

namespace troupe::ranker {

/// How long before its deadline an answer must stop scoring to be there in time: what is left to do then, and
/// how long the last batch of a model goes on, are learned from the answers that the deadline has cut. One
/// that was late moves the reserve by all it was late, one that was early by a sixteenth of what it had left.
/// Any thread.
class adaptive_reserve {
public:
  /// Begins with half of `whole`, which an answer has for all after its features, and stays between an eighth
  /// and the fourfold of it. A quarter of `whole` is for the way to the caller.
  explicit adaptive_reserve(std::chrono::microseconds whole) : whole_{whole}, now_{(whole / 2).count()} {}

  std::chrono::microseconds get() const noexcept {
    return std::chrono::microseconds{now_.load(std::memory_order_relaxed)};
  }

  /// An answer that was cut by its deadline was there at `ended`.
  void cut(deadline until, deadline::clock::time_point ended) noexcept {
    auto late = std::chrono::duration_cast<std::chrono::microseconds>(ended - until.at()) + whole_ / 4;
    auto was = get();
    auto next = was + (late.count() > 0 ? late : late / 16);
    now_.store(std::clamp(next, whole_ / 8, whole_ * 4).count(), std::memory_order_relaxed);
  }

private:
  std::chrono::microseconds whole_;
  std::atomic<std::chrono::microseconds::rep> now_;
};

} // namespace troupe::ranker
