#pragma once

#include "services/ranker/client/rules.hpp"
#include "services/ranker/items/item_snapshot.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace troupe::ranker {

struct loaded_release;

/// For which items of a snapshot a predicate holds. Immutable; any thread.
class item_bits {
public:
  /// Takes the bits of pages that `before`, of the same predicate and release, has too.
  item_bits(const loaded_release& release, const attribute_predicate& of, const item_snapshot& items,
            const item_bits* before);

  bool holds(item_ord item) const noexcept {
    auto at = index_of(item);
    return at / 64 < bits_.size() ? (bits_[at / 64] >> at % 64 & 1) != 0 : outside_;
  }

  /// Of a model with an index: the rows it holds for.
  std::span<const std::uint64_t> rows(std::size_t model) const noexcept { return rows_[model]; }

  std::uint64_t snapshot() const noexcept { return snapshot_; } ///< Its number.

private:
  std::uint64_t snapshot_;
  bool outside_;                     ///< For items that nothing is known of.
  std::vector<std::uint64_t> pages_; ///< Their numbers: the pages themselves go with their snapshots.
  std::vector<std::uint64_t> bits_;  ///< By ordinal.
  std::vector<std::vector<std::uint64_t>> rows_;
};

using item_bits_ptr = std::shared_ptr<const item_bits>;

/// The filters that requests asked of a release last, each with its bits: the same ones come again and again,
/// and of a new snapshot only the pages that changed are looked at. Bounded: when there are too many all go.
/// Any thread.
class item_filters {
public:
  static constexpr std::size_t most = 256;

  item_bits_ptr get(const loaded_release& release, const attribute_predicate& of,
                    const item_snapshot& items) const;

private:
  mutable std::mutex mutex_;
  mutable std::map<std::string, item_bits_ptr> known_;
};

} // namespace troupe::ranker
