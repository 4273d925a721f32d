#pragma once

#include "common/net/client.hpp"

#include <algorithm>
#include <chrono>

namespace troupe::net {

/// Keeps calls away from a replica that fails. Consecutive failures open it; after a while one probe may
/// pass; its end decides. One thread.
class circuit_breaker {
public:
  using clock = std::chrono::steady_clock;

  circuit_breaker(unsigned failures, std::chrono::milliseconds open) : limit_{failures}, open_for_{open} {}

  breaker_state state(clock::time_point now) const noexcept {
    if (!open_)
      return breaker_state::closed;
    return probing_ || now >= open_until_ ? breaker_state::half_open : breaker_state::open;
  }

  /// True when a call may be sent now; in half_open that is one.
  bool allows(clock::time_point now) const noexcept {
    return state(now) == breaker_state::closed || (state(now) == breaker_state::half_open && !probing_);
  }

  void sent() noexcept { probing_ = open_; }
  void succeeded() noexcept { reset(); }

  void failed(clock::time_point now) noexcept {
    probing_ = false;
    if (++failures_ >= limit_) {
      open_ = true;
      open_until_ = now + open_for_;
    }
  }

  void reset() noexcept {
    failures_ = 0;
    open_ = probing_ = false;
  }

private:
  unsigned limit_;
  std::chrono::milliseconds open_for_;
  unsigned failures_ = 0;
  bool open_ = false;
  bool probing_ = false;
  clock::time_point open_until_{};
};

/// Bounds retries to a share of the calls, so that they cannot multiply an overload. A token bucket: a call
/// adds `ratio` (up to `floor` + 10), a second adds one (up to `floor`), a retry takes one. One thread.
class retry_budget {
public:
  using clock = std::chrono::steady_clock;

  retry_budget(double ratio, double floor, clock::time_point now)
      : ratio_{ratio}, floor_{floor}, tokens_{floor}, filled_{now} {}

  void called() noexcept { tokens_ = std::min(floor_ + 10, tokens_ + ratio_); }

  bool take(clock::time_point now) noexcept {
    if (tokens_ < floor_)
      tokens_ = std::min(floor_, tokens_ + std::chrono::duration<double>(now - filled_).count());
    filled_ = now;
    if (tokens_ < 1)
      return false;
    tokens_ -= 1;
    return true;
  }

private:
  double ratio_;
  double floor_;
  double tokens_;
  clock::time_point filled_;
};

} // namespace troupe::net
