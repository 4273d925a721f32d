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

  std::size_t bytes() const noexcept; ///< That it holds.

private:
  std::uint64_t snapshot_;
  bool outside_;                     ///< For items that nothing is known of.
  std::vector<std::uint64_t> pages_; ///< Their numbers: the pages themselves go with their snapshots.
  std::vector<std::uint64_t> bits_;  ///< By ordinal.
  std::vector<std::vector<std::uint64_t>> rows_;
};

using item_bits_ptr = std::shared_ptr<const item_bits>;

/// The filters that requests asked of a release last, each with its bits: the same ones come again and again,
/// and of a new snapshot only the pages that changed are looked at. Callers name them, so they are bounded,
/// by number and by bytes: the one that was not asked for longest goes first. Any thread.
class item_filters {
public:
  static constexpr std::size_t most = 256;
  static constexpr std::size_t usual_bytes = std::size_t{64} << 20;

  explicit item_filters(std::size_t most_bytes = usual_bytes) : most_bytes_{most_bytes} {}

  item_bits_ptr get(const loaded_release& release, const attribute_predicate& of,
                    const item_snapshot& items) const;

  std::size_t bytes() const;

private:
  struct entry {
    item_bits_ptr bits;
    std::uint64_t asked = 0; ///< By the how manieth question it was asked for last.
  };
  void keep(std::string key, const item_bits_ptr& bits) const;

  std::size_t most_bytes_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, entry> known_;
  mutable std::size_t bytes_ = 0; ///< Of all of them.
  mutable std::uint64_t questions_ = 0;
};

} // namespace troupe::ranker
