#pragma once

#include "services/ranker/items/text_numbers.hpp"

#include <cstdint>
#include <memory>
#include <string_view>

namespace troupe::ranker {

/// The number of an item: dense, and the same in all snapshots and releases that were made with one space. It
/// never leaves the process: the wire has ids.
enum class item_ord : std::uint32_t {};
inline constexpr item_ord no_item{text_numbers::none};

constexpr std::uint32_t index_of(item_ord item) noexcept {
  return static_cast<std::uint32_t>(item);
}

/// The items of one ranker, of its catalogue and of all its models. One a process; append only, so an ordinal
/// means the same item for ever. Any thread.
class item_space {
public:
  /// no_item where nothing has named the item yet.
  item_ord find(std::string_view id) const noexcept { return item_ord{ids_.find(id)}; }
  item_ord add(std::string_view id) { return item_ord{ids_.add(id)}; }
  std::string_view id(item_ord item) const noexcept { return ids_.text(index_of(item)); }

  /// All ordinals are below it.
  std::uint32_t limit() const noexcept { return ids_.size(); }

private:
  text_numbers ids_;
};

using item_space_ptr = std::shared_ptr<item_space>;

} // namespace troupe::ranker
