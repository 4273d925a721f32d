#pragma once

#include "services/ranker/items/item_snapshot.hpp"

#include "common/core/published.hpp"
#include "common/model/scorer.hpp"

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace troupe::ranker {

struct loaded_release;

/// What a release makes of one page of items: which of them its rules mean, and what its models want to be
/// told of them.
struct bound_page {
  item_page_ptr of;                       ///< null: nothing is known of these items.
  item_page::bits filtered{};             ///< By some rule of the kind filter.
  std::vector<item_page::bits> meant;     ///< By each rule: those its predicate holds for.
  std::vector<std::vector<float>> inputs; ///< By each model, item by item: see scorer::item_input().
};

/// A release before one snapshot of the items: all that does not depend on who asks. Immutable; any thread.
class item_binding {
public:
  /// At `now`, microseconds since 1970 UTC. Takes what it can from `before`, a binding of the same release:
  /// it costs what the pages that differ cost.
  item_binding(const loaded_release& release, const item_snapshot& items, std::int64_t now,
               const item_binding* before);

  const bound_page& page_of(item_ord item) const noexcept {
    auto at = index_of(item) / item_page::rows;
    return at < pages_.size() ? *pages_[at] : *nothing_;
  }
  bool filtered(item_ord item) const noexcept {
    return item_page::bit(page_of(item).filtered, item_snapshot::row_of(item));
  }
  /// Whether the item may be shown at `bound_at`, but for who asks.
  bool open(item_ord item) const noexcept {
    auto at = index_of(item);
    return at / 64 < open_.size() ? (open_[at / 64] >> at % 64 & 1) != 0 : !filtered(item);
  }
  bool meant(std::size_t rule, item_ord item) const noexcept {
    return item_page::bit(page_of(item).meant[rule], item_snapshot::row_of(item));
  }

  /// What the model is told of the item; null where nothing is known of that.
  const float* input(std::size_t model, std::size_t width, item_ord item) const noexcept {
    auto& page = page_of(item);
    auto row = item_snapshot::row_of(item);
    return page.of && item_page::bit(page.of->known, row) ? page.inputs[model].data() + row * width : nullptr;
  }

  /// The same of an item that nothing is known of but its id, made anew.
  void unknown_input(const model::scorer& by, std::size_t model, std::string_view id,
                     std::span<float> out) const;

  /// Of a model with an index: its rows that may be shown at `bound_at`, but for who asks.
  std::span<const std::uint64_t> allowed(std::size_t model) const noexcept { return allowed_[model]; }

  /// How many pages of the snapshot are those that it is bound to.
  std::size_t shared_with(const item_snapshot& items) const noexcept;

  std::uint64_t snapshot() const noexcept { return snapshot_; } ///< Its number.
  std::int64_t bound_at() const noexcept { return bound_at_; }

  /// Of each model, for each of its features of items: the column of the snapshot, or one of these.
  static constexpr std::size_t no_column = static_cast<std::size_t>(-1); ///< Not in the snapshot: missing.
  static constexpr std::size_t id_column = static_cast<std::size_t>(-2); ///< The id of the item itself.
  const std::vector<std::size_t>& columns(std::size_t model) const noexcept { return columns_[model]; }

private:
  std::shared_ptr<const bound_page> bind(const loaded_release& release, const item_snapshot& items,
                                         const item_page_ptr& page, std::size_t at) const;

  std::uint64_t snapshot_;
  std::int64_t bound_at_;
  std::vector<std::vector<std::size_t>> columns_;
  std::shared_ptr<const bound_page> nothing_; ///< For items that nothing is known of.
  std::vector<std::shared_ptr<const bound_page>> pages_;
  std::vector<std::uint64_t> open_; ///< By ordinal.
  std::vector<std::vector<std::uint64_t>> allowed_;
};

using item_binding_ptr = std::shared_ptr<const item_binding>;

/// The bindings of one release: the one to the newest snapshot that it was asked for, and the one before it,
/// which requests under way still have. Any thread; where none fits, the caller makes it.
class item_bindings {
public:
  item_binding_ptr get(const loaded_release& release, const item_snapshot& items, std::int64_t now) const;

  /// Makes the one to a snapshot that nobody has yet, for a `get` of it, or of one that comes from it. It
  /// displaces none.
  void prepare(const loaded_release& release, const item_snapshot& items, std::int64_t now) const;

private:
  struct pair {
    item_binding_ptr newest, before;
    item_binding_ptr prepared; ///< null: none, or it was used.
  };
  void keep(std::shared_ptr<const pair> next, std::shared_ptr<const pair> old) const;

  mutable published<pair> kept_{std::make_shared<const pair>()};
  mutable std::mutex making_;
  mutable std::vector<std::shared_ptr<const pair>> retired_; ///< Until nobody reads them: freed by who makes.
};

} // namespace troupe::ranker
