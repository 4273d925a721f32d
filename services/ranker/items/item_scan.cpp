#include "services/ranker/items/item_scan.hpp"

#include "services/ranker/client/rules.hpp"

#include "common/core/time.hpp"

#include <algorithm>

namespace troupe::ranker {

namespace {

attribute_value value_in(const feature_store::feature_column& column, std::size_t row) {
  if (!column.texts.empty())
    return column.texts[row];
  if (!column.lists.empty())
    return column.lists[row];
  return column.numbers.empty() ? 0.0 : column.numbers[row];
}

/// Microseconds of a time that an attribute holds; 0: none.
std::int64_t instant_in(double number) {
  auto at = number == 0 ? std::nullopt : epoch_of(number);
  return at ? micros_of(*at) : 0;
}

void take_value(item_attributes& into, const std::string& feature,
                const feature_store::feature_column& column, std::size_t row) {
  auto number = column.numbers.empty() ? 0 : column.numbers[row];
  if (feature == "item_card.hidden")
    into.hidden = feature_store::is_set(column, row);
  else if (feature == "item_card.expires")
    into.expires = instant_in(number);
  else if (feature == "item_card.created")
    into.created = instant_in(number);
  else if (feature == "item_trend.decayed")
    into.trend = number;
  else if (feature == "item_card.title" && !column.texts.empty())
    into.title = column.texts[row];
  into.attributes.push_back({feature.substr(feature.find('.') + 1), value_in(column, row)});
}

} // namespace

scan_plan plan_scan(const std::vector<std::string>& item_features,
                    const std::vector<std::string>& of_models) {
  scan_plan out;
  out.names = basic_item_features();
  auto place_of = [&](const std::string& name) {
    auto found = std::find(out.names.begin(), out.names.end(), name);
    auto place = static_cast<std::size_t>(found - out.names.begin());
    if (found == out.names.end())
      out.names.push_back(name);
    return place;
  };
  for (auto& each : item_features)
    place_of(each);
  out.attributes = out.names.size();
  for (auto& each : of_models)
    if (auto column = place_of(each);
        std::find(out.columns.begin(), out.columns.end(), column) == out.columns.end())
      out.columns.push_back(column);
  return out;
}

expected<void> append_page(feature_store::feature_page page, const scan_plan& plan,
                           std::vector<item_attributes>& to) {
  auto& columns = page.features.columns;
  if (columns.size() != plan.names.size())
    return fail(ec::corrupt, "a page of items has {} columns, asked were {}", columns.size(),
                plan.names.size());
  for (std::size_t i = 0; i < page.ids.size(); ++i) {
    auto& item = to.emplace_back();
    item.id = std::move(page.ids[i]);
    item.deleted = page.features.deleted[i] != 0;
    for (std::size_t c = 0; c < plan.attributes; ++c)
      if (columns[c].status[i] == wire::FeatureStatus::present)
        take_value(item, plan.names[c], columns[c], i);
    for (auto c : plan.columns)
      if (columns[c].status[i] == wire::FeatureStatus::present)
        item.features.emplace_back(value_in(columns[c], i));
      else
        item.features.emplace_back(std::nullopt);
  }
  return {};
}

} // namespace troupe::ranker
