#pragma once

#include "common/core/time.hpp"

#include <fmt/format.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

/// The two-step stop of an actor: stop the intake, wait under one budget for those who have work left, then
/// end. The actor asks `look` at each tick. One actor.
class drain {
public:
  enum class step : std::uint8_t { idle, waiting, done, expired };

  /// Somebody who may have work left: name, and how much.
  void watch(std::string name, std::function<std::size_t()> left) {
    watched_.push_back({std::move(name), std::move(left)});
  }

  /// A second call changes nothing.
  void begin(deadline until) {
    if (!until_)
      until_ = until;
  }

  bool begun() const noexcept { return until_.has_value(); }

  step look(deadline::clock::time_point now = deadline::clock::now()) const {
    if (!until_)
      return step::idle;
    for (auto& each : watched_)
      if (each.left() > 0)
        return until_->passed(now) ? step::expired : step::waiting;
    return step::done;
  }

  /// Who is left, for the log: `3 requests, 1 write`.
  std::string who_is_left() const {
    std::string text;
    for (auto& each : watched_)
      if (auto count = each.left(); count > 0)
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, each.name);
    return text.empty() ? "nobody" : text;
  }

private:
  struct entry {
    std::string name;
    std::function<std::size_t()> left;
  };
  std::vector<entry> watched_;
  std::optional<deadline> until_;
};

} // namespace troupe
