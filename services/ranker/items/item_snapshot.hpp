#pragma once

#include "services/feature_store/client/feature_client.hpp"

#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace troupe::ranker {

/// What the feature store knew of one item when the snapshot was taken.
struct item_attributes {
  std::string id;
  std::string title;
  bool hidden = false;
  bool deleted = false;
  std::int64_t expires = 0; ///< Microseconds since 1970 UTC; 0: never.
  std::int64_t created = 0; ///< 0: not known.
  double trend = 0;
  std::vector<attribute> attributes;                    ///< Sorted by name: title and genres too.
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

/// The live state of all items at one instant. Immutable once made; replaced as a whole. Any thread.
class item_snapshot {
public:
  item_snapshot() = default;

  /// Ids are unique. `features` names the features of every item by "view.feature", `views` the
  /// "view@version" behind them.
  item_snapshot(std::vector<item_attributes> items, deadline::clock::time_point taken,
                std::vector<std::string> features = {}, std::vector<std::string> views = {},
                feature_store::applied_offsets applied = {});

  /// `base` with what was read of some of its items since, whose features are in the order of
  /// `base->feature_names()`. What trends and what is recent stay as they were.
  item_snapshot(std::shared_ptr<const item_snapshot> base, std::vector<item_attributes> newer);

  std::size_t size() const noexcept { return base_ ? base_->size() : items_.size(); }
  const item_attributes* find(std::string_view id) const;

  /// Items with a trend, strongest first; items with a time of creation, newest first. At most `longest`.
  const std::vector<const item_attributes*>& trending() const noexcept {
    return base_ ? base_->trending() : trending_;
  }
  const std::vector<const item_attributes*>& recent() const noexcept {
    return base_ ? base_->recent() : recent_;
  }

  const std::vector<std::string>& feature_names() const noexcept { return features_; }
  const std::vector<std::string>& views() const noexcept { return views_; }

  /// When the scan behind it began; the epoch of the clock where there was none.
  deadline::clock::time_point taken() const noexcept { return taken_; }

  /// The records of the log behind all of it.
  const feature_store::applied_offsets& applied() const noexcept { return applied_; }

  static constexpr std::size_t longest = 20'000;

private:
  void index();

  std::shared_ptr<const item_snapshot> base_; ///< null: `items_` are all.
  std::vector<item_attributes> items_;
  std::unordered_map<std::string_view, const item_attributes*> by_id_;
  std::vector<const item_attributes*> trending_, recent_;
  std::vector<std::string> features_, views_;
  deadline::clock::time_point taken_{};
  feature_store::applied_offsets applied_;
};

using item_snapshot_ptr = std::shared_ptr<const item_snapshot>;

} // namespace troupe::ranker
