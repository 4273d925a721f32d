#include "services/ranker/items/item_snapshot.hpp"

#include <algorithm>

namespace troupe::ranker {

const attribute_value* item_attributes::find(std::string_view name) const {
  auto at = std::lower_bound(attributes.begin(), attributes.end(), name,
                             [](const attribute& each, std::string_view key) { return each.name < key; });
  return at != attributes.end() && at->name == name ? &at->value : nullptr;
}

std::string_view item_attributes::closed(std::int64_t now) const noexcept {
  if (deleted)
    return "deleted";
  if (hidden)
    return "hidden";
  if (expires != 0 && expires <= now)
    return "expired";
  return {};
}

item_snapshot::item_snapshot(std::vector<item_attributes> items, deadline::clock::time_point taken,
                             std::vector<std::string> features, std::vector<std::string> views,
                             feature_store::applied_offsets applied)
    : items_{std::move(items)}, features_{std::move(features)}, views_{std::move(views)}, taken_{taken},
      applied_{std::move(applied)} {
  index();
  for (auto& each : items_) {
    if (each.trend > 0)
      trending_.push_back(&each);
    if (each.created > 0)
      recent_.push_back(&each);
  }
  auto order = [](std::vector<const item_attributes*>& list, auto weight) {
    std::sort(list.begin(), list.end(), [&](auto* a, auto* b) {
      return weight(*a) != weight(*b) ? weight(*a) > weight(*b) : a->id < b->id;
    });
    if (list.size() > longest)
      list.resize(longest);
  };
  order(trending_, [](const item_attributes& each) { return each.trend; });
  order(recent_, [](const item_attributes& each) { return each.created; });
}

item_snapshot::item_snapshot(std::shared_ptr<const item_snapshot> base, std::vector<item_attributes> newer)
    : base_{std::move(base)}, items_{std::move(newer)}, features_{base_->features_}, views_{base_->views_},
      taken_{base_->taken_}, applied_{base_->applied_} {
  index();
}

void item_snapshot::index() {
  by_id_.reserve(items_.size());
  for (auto& each : items_) {
    std::sort(each.attributes.begin(), each.attributes.end(),
              [](auto& a, auto& b) { return a.name < b.name; });
    by_id_.emplace(each.id, &each);
  }
}

const item_attributes* item_snapshot::find(std::string_view id) const {
  auto found = by_id_.find(id);
  if (found != by_id_.end())
    return found->second;
  return base_ ? base_->find(id) : nullptr;
}

} // namespace troupe::ranker
