#pragma once

#include "common/core/time.hpp"

#include <caf/atom.hpp>

#include <chrono>
#include <cstdint>
#include <utility>

namespace troupe {

using tick_atom = caf::atom_constant<caf::atom("tick")>;

/// Work that an actor does again and again, a pause after each time. Lives in the actor's state; its handle
/// declares `caf::reacts_to<tick_atom, std::uint64_t>`, and its behavior holds `tick_.handler([this] { ...
/// })`.
///
/// At most one message is on its way that counts; what was sent before a `stop` is ignored when it comes.
/// Work that ends later, in an answer, calls `stop` first and `start` when it has ended. The time is the
/// actor system's, so that a test moves it. CAF keeps the actor's memory until the last message has come: an
/// actor ends by quitting, not by being let go of.
template <class Self>
class self_tick {
public:
  using duration = deadline::clock::duration;

  /// `every`: the pause between two runs.
  self_tick(Self* self, duration every) : self_{self}, every_{every} {}
  self_tick(const self_tick&) = delete;
  self_tick& operator=(const self_tick&) = delete;

  /// The first run comes after one pause, or after `wait`. One that is started already stays as it is.
  void start() { start(every_); }
  void start(duration wait) {
    if (armed_)
      return;
    armed_ = true;
    self_->delayed_send(self_, std::chrono::duration_cast<std::chrono::nanoseconds>(wait), tick_atom::value,
                        ++turn_);
  }

  /// No run until the next `start`.
  void stop() noexcept { armed_ = false; }

  bool started() const noexcept { return armed_; }

  /// For the behavior: does `work`, then waits for the next turn unless `work` stopped or started it itself.
  template <class Work>
  auto handler(Work work) {
    return [this, work = std::move(work)](tick_atom, std::uint64_t turn) mutable {
      if (!armed_ || turn != turn_)
        return;
      work();
      if (!armed_ || turn != turn_)
        return;
      armed_ = false;
      start();
    };
  }

private:
  Self* self_;
  duration every_;
  bool armed_ = false;
  std::uint64_t turn_ = 0; ///< Of the message that counts.
};

} // namespace troupe
