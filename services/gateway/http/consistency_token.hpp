#pragma once

#include "common/core/error.hpp"
#include "common/event/record.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::gateway {

/// Places of the log that an answer must have seen: partition and one past the last record.
using log_offsets = std::vector<std::pair<std::uint32_t, std::uint64_t>>;

/// What a write did to an item. The order is that of wire::ItemChange.
enum class item_change : std::uint8_t {
  written, ///< It has other attributes, and may be shown.
  hidden,
  deleted
};

/// Of a record of an item.
item_change change_by(const record& of_item);

struct changed_item {
  std::string item;
  item_change change = item_change::written;

  friend bool operator==(const changed_item&, const changed_item&) = default;
};

/// What an answer must have seen, in X-Consistency-Token, which a write answers and a read takes:
/// `3:17,5:4;i1;!i2;+i3` says that records up to these offsets deleted i1, hid i2 and wrote i3, and `;*` at
/// the end that there are items which it does not name. Rankers learn of items by and by: what is named is
/// right in the next answer.
struct consistency_token {
  log_offsets offsets;
  std::vector<changed_item> items;
  bool more_items = false;

  friend bool operator==(const consistency_token&, const consistency_token&) = default;

  bool about_items() const noexcept { return !items.empty() || more_items; }

  /// Names more items; of one that is named already it is not known any more which write was the newest.
  void name(std::vector<changed_item> more);
};

/// A header has its bounds: no more items are named, and no more bytes of them. Those that may not be shown
/// come first.
inline constexpr std::size_t most_named_items = 100, most_named_bytes = 4'096;

std::string write_token(const consistency_token& token);

/// Empty text: nothing. Fails on anything else that `write_token` does not make, and beyond 1,024 places.
expected<consistency_token> parse_token(std::string_view text);

} // namespace troupe::gateway
