#pragma once

#include <algorithm>
#include <cstddef>

namespace troupe {

/// What a producer may still send before its consumer has worked it off: rows, bytes or messages. The
/// consumer grants, the producer spends. One actor.
class credit {
public:
  /// `limit`: the most that may be under way.
  explicit credit(std::size_t limit) noexcept : limit_{limit}, left_{limit} {}

  /// Spends `amount`; false when there is not that much. What is larger than the whole limit passes alone.
  bool take(std::size_t amount) noexcept {
    if (amount > left_ && !(amount > limit_ && left_ == limit_))
      return false;
    left_ -= std::min(amount, left_);
    return true;
  }

  /// The consumer has worked `amount` off. Never grows beyond the limit.
  void grant(std::size_t amount) noexcept { left_ += std::min(amount, limit_ - left_); }

  std::size_t left() const noexcept { return left_; }
  std::size_t under_way() const noexcept { return limit_ - left_; }
  std::size_t limit() const noexcept { return limit_; }

private:
  std::size_t limit_;
  std::size_t left_;
};

} // namespace troupe
