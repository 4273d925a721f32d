#pragma once

#include "common/event/record.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// The type of slates, and of events of before and of other systems that say an item was shown: seen, not
/// chosen.
inline constexpr std::string_view impression_type = "impression";

/// The attributes of a slate, by name. A click may repeat arm and release of the slate that it follows, and
/// the position of its item.
namespace shown_attribute {
inline constexpr std::string_view arm = "arm", degraded = "degraded", position = "position",
                                  propensity = "propensity", release = "release",
                                  routing_version = "routing_version";
} // namespace shown_attribute

/// The page that one answer showed one user: one record, however many items it has. The gateway writes it
/// before it answers; whoever compares arms or learns from what was shown reads it.
struct slate {
  std::string request_id; ///< Of the answer.
  std::string user;
  timestamp shown_at{};
  std::string arm;                   ///< Empty: nothing was rolled out.
  std::string release;               ///< The one that answered, not always that of the arm.
  std::uint64_t routing_version = 0; ///< Of the table that gave the arm; 0: none.
  bool degraded = false;             ///< The answer was less than it could be.
  std::vector<shown_item> items;     ///< In the order in which they stood.
  std::vector<attribute> context;    ///< What else was known of the request; none of the names above.

  /// Its id says the request: written twice it is one record.
  record to_record() &&;

  /// Nothing for what is no slate. An impression of before, an event of its own, is a slate of one item. An
  /// attribute that is not there has its default: other systems log less.
  static std::optional<slate> from_record(const wire::Record& from);
};

/// The id of the slate of a request: its hash stands for one that is too long for an id.
std::string slate_id(std::string_view request);

/// What holds for the items of a slate, whoever reads them; the errors are sentences about the value alone.
///
/// A number as a place on the page: from 1, or 0 where it is not known.
expected<std::uint32_t> position_of(double number);
/// A propensity is above 0 and up to 1.
expected<void> check_propensity(double chance);
/// No two items stand in one place. `places`: those that are known; it is sorted.
expected<void> check_positions(std::vector<std::uint32_t>& places);

} // namespace troupe
