#pragma once

#include "common/core/error.hpp"

#include <cassert>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace troupe {

/// Waits for `count` partial results and tells once: all of them in their places, or the first error. What
/// comes later is ignored. Destroyed before the end it tells ec::canceled. One actor.
template <class Part>
class fan_in {
public:
  using tell = std::function<void(expected<std::vector<Part>>)>;

  fan_in(std::size_t count, tell done) : parts_(count), missing_{count}, done_{std::move(done)} {
    if (count == 0)
      finish(std::vector<Part>{});
  }
  fan_in(const fan_in&) = delete;
  fan_in& operator=(const fan_in&) = delete;
  ~fan_in() {
    fail({ec::canceled, fmt::format("{} of {} parts had come", parts_.size() - missing_, parts_.size())});
  }

  /// Takes part number `place`; a part that comes twice counts once.
  void take(std::size_t place, Part part) {
    assert(place < parts_.size());
    if (!done_ || parts_[place])
      return;
    parts_[place].emplace(std::move(part));
    if (--missing_ > 0)
      return;
    std::vector<Part> all;
    all.reserve(parts_.size());
    for (auto& each : parts_)
      all.push_back(*std::move(each));
    finish(std::move(all));
  }

  void fail(error err) {
    if (done_)
      finish(unexpected<error>{std::move(err)});
  }

  bool done() const noexcept { return !done_; }

private:
  void finish(expected<std::vector<Part>> result) {
    auto tell_once = std::exchange(done_, nullptr);
    tell_once(std::move(result));
  }

  std::vector<std::optional<Part>> parts_;
  std::size_t missing_;
  tell done_;
};

} // namespace troupe
