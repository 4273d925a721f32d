#pragma once

#include "common/core/error.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// An instant of the outside world, microseconds since 1970-01-01T00:00:00Z. Event time and ingest time are
/// of this type.
using timestamp = std::chrono::sys_time<std::chrono::microseconds>;

inline timestamp wall_now() {
  return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

inline std::int64_t micros_of(timestamp at) noexcept {
  return at.time_since_epoch().count();
}

inline timestamp from_micros(std::int64_t micros) noexcept {
  return timestamp{std::chrono::microseconds{micros}};
}

/// RFC 3339 in UTC with microseconds when there are any: `2013-02-28T14:38:27Z`.
std::string to_rfc3339(timestamp at);

/// Reads RFC 3339 and its common loosenings: a space for the T, no zone (UTC), a date alone. Years 1 to 9999.
expected<timestamp> parse_rfc3339(std::string_view text);

/// What a number since 1970 counts.
enum class epoch_unit : std::uint8_t {
  by_size, ///< Below 1e11 either way from 1970 seconds, below 1e14 milliseconds, below 1e17 microseconds,
           ///< else nanoseconds: 1e11 is a second of the year 5138 and a millisecond of 1973.
  seconds,
  milliseconds,
  microseconds
};

/// Reads a number since 1970, which may have a sign, a fraction and an exponent: exact to the microsecond, to
/// which it is rounded. Nothing where it is none, or lies outside the years 1 to 9999.
std::optional<timestamp> parse_epoch(std::string_view number, epoch_unit unit) noexcept;

/// The same for a number that is no text any more, by its size.
std::optional<timestamp> epoch_of(double number);

/// Reads a time that a source writes as it likes: a number since 1970 by its size, or RFC 3339 as above.
expected<timestamp> parse_time(std::string_view text);

/// Reads `150ms`, `30s`, `5m`, `12h`, `7d`, `2w`: a whole number and a unit (us, ms, s, m, h, d, w). Never
/// negative.
expected<std::chrono::microseconds> parse_duration(std::string_view text);

/// The shortest form that `parse_duration` reads back: `90m`, `7d`.
std::string to_duration_text(std::chrono::microseconds span);

/// The instant after which nobody wants the answer any more. Monotonic; travels between processes as time
/// left.
class deadline {
public:
  using clock = std::chrono::steady_clock;

  explicit deadline(clock::time_point at) noexcept : at_{at} {}

  static deadline in(clock::duration span) noexcept { return deadline{clock::now() + span}; }

  /// Never negative.
  clock::duration left(clock::time_point now = clock::now()) const noexcept {
    return std::max(clock::duration::zero(), at_ - now);
  }

  bool passed(clock::time_point now = clock::now()) const noexcept { return now >= at_; }
  clock::time_point at() const noexcept { return at_; }

  /// The earlier of the two: a part of the work never outlives the whole.
  deadline within(clock::duration span) const noexcept {
    return deadline{std::min(at_, clock::now() + span)};
  }

private:
  clock::time_point at_;
};

} // namespace troupe
