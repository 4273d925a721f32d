#pragma once

#include "common/event/record.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe {

/// The type of an event that says an item was shown: seen, not chosen.
inline constexpr std::string_view impression_type = "impression";

/// The attributes of an impression, by name. A click may repeat arm, position and release of the impression
/// that it follows.
namespace shown_attribute {
inline constexpr std::string_view arm = "arm", degraded = "degraded", position = "position",
                                  propensity = "propensity", release = "release",
                                  routing_version = "routing_version";
} // namespace shown_attribute

/// One item that one answer showed one user. The gateway writes it before it answers; whoever compares arms
/// or learns from what was shown reads it.
struct impression {
  std::string request_id; ///< Of the answer.
  std::string user;
  std::string item;
  timestamp shown_at{};
  std::uint32_t position = 0;        ///< From 1, of its answer.
  double propensity = 1;             ///< Probability that this item stands at this position.
  std::string arm;                   ///< Empty: nothing was rolled out.
  std::string release;               ///< The one that answered, not always that of the arm.
  std::uint64_t routing_version = 0; ///< Of the table that gave the arm; 0: none.
  bool degraded = false;             ///< The answer was less than it could be.

  /// Its id says request and position: written twice it is one record.
  record to_record() const;

  /// Nothing for another event. An attribute that is not there has its default: other systems log less.
  static std::optional<impression> from_record(const wire::Record& from);
};

} // namespace troupe
