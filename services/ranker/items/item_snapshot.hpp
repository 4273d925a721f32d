#pragma once

#include "services/feature_store/client/feature_client.hpp"
#include "services/ranker/items/item_page.hpp"
#include "services/ranker/items/item_space.hpp"

#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::ranker {

/// One item as the feature store knows it: the row that a snapshot is made of.
struct item_attributes {
  std::string id;
  std::string title;
  bool hidden = false;
  bool deleted = false;
  std::int64_t expires = 0; ///< Microseconds since 1970 UTC; 0: never.
  std::int64_t created = 0; ///< 0: not known.
  double trend = 0;
  std::vector<attribute> attributes;                    ///< Each name once: title and genres too.
  std::vector<std::optional<attribute_value>> features; ///< As feature_names() of the snapshot.

  /// nullptr where the item has no such attribute.
  const attribute_value* find(std::string_view name) const;

  /// nullptr where it is missing or stale.
  const attribute_value* feature(std::size_t column) const noexcept {
    return column < features.size() && features[column] ? &*features[column] : nullptr;
  }

  /// Why it must not be shown at `now`; empty where it may.
  std::string_view closed(std::int64_t now) const noexcept;
};

/// What a snapshot says of itself.
struct snapshot_origin {
  deadline::clock::time_point taken{};    ///< When the reading behind it began.
  std::vector<std::string> features;      ///< Of every item, by "view.feature".
  std::vector<std::string> views;         ///< The "view@version" behind them.
  feature_store::applied_offsets applied; ///< The records of the log behind all of it.
};

class item_snapshot;
using item_snapshot_ptr = std::shared_ptr<const item_snapshot>;

/// What is other than in the snapshot before.
struct item_changes {
  std::vector<item_attributes> changed; ///< New ones too. Of an id that stands twice the later one counts.
  std::vector<std::string> removed;     ///< Of which nothing is known any more.
  /// When this was asked for, and the records of the log behind it; none: as they were.
  std::optional<deadline::clock::time_point> taken{};
  std::optional<feature_store::applied_offsets> applied{};
  bool passing = false; ///< They are for requests of one caller, who has made them: nobody keeps the outcome.
};

/// `base` with these changes: a snapshot of its own, which shares all pages with `base` but those of the
/// items named. For k items it costs the copying of at most k pages of 256 items. `features` of the rows are
/// in the order of `base->feature_names()`.
item_snapshot_ptr with_changes(const item_snapshot_ptr& base, const item_changes& by);

/// The live state of all items at one instant, as columns by ordinal. Immutable once made; any thread.
class item_snapshot {
public:
  /// Nothing is known of any item.
  item_snapshot() : item_snapshot{item_space_ptr{}} {}
  explicit item_snapshot(item_space_ptr space);

  /// Of items that a scan has read. Of an id that stands twice the later one counts.
  item_snapshot(item_space_ptr space, const std::vector<item_attributes>& items, snapshot_origin origin);

  /// Greater than those of the snapshots made before it, in this process.
  std::uint64_t number() const noexcept { return number_; }

  /// It is of changes that were so.
  bool passing() const noexcept { return passing_; }

  /// Of which it knows the items; releases that it serves with were bound to the same.
  const item_space_ptr& space() const noexcept { return space_; }

  std::size_t size() const noexcept { return size_; }

  /// The row of an item, made anew: for explanations and changes, not for every candidate.
  std::optional<item_attributes> find(std::string_view id) const;

  /// Items with a trend, strongest first; items with a time of creation, newest first; of equals by id. At
  /// most `longest`.
  std::span<const item_ord> trending() const noexcept { return *trending_; }
  std::span<const item_ord> recent() const noexcept { return *recent_; }

  /// Items that expire, by when.
  struct expiry {
    std::int64_t when;
    item_ord item;
  };
  std::span<const expiry> expiring() const noexcept { return *expiring_; }

  /// Those that expire after `from`, `to` included.
  std::span<const expiry> expiring_between(std::int64_t from, std::int64_t to) const noexcept;

  const std::vector<std::string>& feature_names() const noexcept { return features_; }
  const std::vector<std::string>& views() const noexcept { return views_; }

  /// When the reading behind it began; the epoch of the clock where there was none.
  deadline::clock::time_point taken() const noexcept { return taken_; }

  /// The records of the log behind all of it.
  const feature_store::applied_offsets& applied() const noexcept { return applied_; }

  /// The pages by ordinal / item_page::rows; null, or not there, where nothing is known of any item of one.
  std::span<const item_page_ptr> pages() const noexcept { return pages_; }
  const item_page* page_of(item_ord item) const noexcept {
    auto at = index_of(item) / item_page::rows;
    return at < pages_.size() ? pages_[at].get() : nullptr;
  }
  static std::size_t row_of(item_ord item) noexcept { return index_of(item) % item_page::rows; }

  bool knows(item_ord item) const noexcept {
    auto* page = page_of(item);
    return page && item_page::bit(page->known, row_of(item));
  }
  bool hidden(item_ord item) const noexcept {
    auto* page = page_of(item);
    return page && item_page::bit(page->hidden, row_of(item));
  }
  bool deleted(item_ord item) const noexcept {
    auto* page = page_of(item);
    return page && item_page::bit(page->deleted, row_of(item));
  }

  /// Why it must not be shown at `now`; empty where it may, and where nothing is known of it.
  std::string_view closed(item_ord item, std::int64_t now) const noexcept;

  double trend(item_ord item) const noexcept {
    auto* page = page_of(item);
    return page ? page->trend[row_of(item)] : 0;
  }
  std::string_view title(item_ord item) const noexcept;

  /// The place of an attribute in the columns of pages; nothing where no item has it.
  std::optional<std::size_t> attribute_column(std::string_view name) const noexcept;

  /// The words of the attribute in that column, where it is a list of them.
  std::span<const word_id> words(std::size_t column, item_ord item) const noexcept;

  /// What keeps titles and words where they are.
  std::shared_ptr<const void> texts() const noexcept { return words_; }

  std::string_view word(word_id of) const noexcept { return words_->text(static_cast<std::uint32_t>(of)); }
  /// Nothing where no item has ever had it.
  std::optional<word_id> find_word(std::string_view text) const noexcept;

  static constexpr std::size_t longest = 20'000;

private:
  friend item_snapshot_ptr with_changes(const item_snapshot_ptr& base, const item_changes& by);

  class editor;

  void make_lists();
  /// `before`: what they were made of, from before the items were touched.
  void update_lists(const std::vector<item_ord>& touched, const item_snapshot& before);
  std::vector<item_attributes> all_rows() const;
  item_attributes row_at(item_ord item) const;
  attribute_value value_at(const item_column& column, std::size_t row) const;

  template <class T>
  using shared_list = std::shared_ptr<const std::vector<T>>;

  item_space_ptr space_;
  std::shared_ptr<text_numbers> words_; ///< Of attributes; shared with the snapshots that this came from.
  std::uint32_t words_at_first_ = 0;    ///< As many had the first of these.
  std::vector<std::string> attributes_; ///< Names of the columns of pages.
  std::vector<item_page_ptr> pages_;
  std::size_t size_ = 0;
  std::uint64_t number_;
  bool passing_ = false;
  shared_list<item_ord> trending_, recent_;
  bool trending_cut_ = false, recent_cut_ = false; ///< There are more than `longest`.
  shared_list<expiry> expiring_;
  std::vector<std::string> features_, views_;
  deadline::clock::time_point taken_{};
  feature_store::applied_offsets applied_;
};

} // namespace troupe::ranker
