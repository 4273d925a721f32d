#include "services/ranker/serving/user_features.hpp"

#include "services/feature_store/client/feature_client.hpp"

namespace troupe::ranker {

namespace {

constexpr std::size_t shown_words = 10;

std::optional<attribute_value> value_of(feature_store::feature_column& column) {
  if (column.status[0] != wire::FeatureStatus::present)
    return std::nullopt;
  if (!column.texts.empty())
    return std::move(column.texts[0]);
  if (!column.lists.empty())
    return std::move(column.lists[0]);
  if (!column.numbers.empty())
    return column.numbers[0];
  return std::nullopt;
}

} // namespace

expected<user_features> decode_user_features(const chunk& payload) {
  TROUPE_TRY(answer, feature_store::decode_features(payload, 1));
  user_features out;
  for (auto& column : answer.columns) {
    auto& to = out.features.emplace_back();
    to.name = column.name;
    to.status = column.status[0];
    to.age_us = column.age_us[0];
    auto value = value_of(column);
    if (!value)
      continue;
    if (auto* list = std::get_if<text_list>(&*value); list && out.features.size() == 1)
      out.history = *list;
    to.value = out.values.size();
    out.values.push_back({column.name, std::move(*value)});
  }
  out.views = std::move(answer.view_versions);
  out.deleted = answer.deleted[0] != 0;
  return out;
}

std::string value_text(const attribute_value& value) {
  if (auto* text = std::get_if<std::string>(&value))
    return *text;
  if (auto* number = std::get_if<double>(&value))
    return fmt::format("{}", *number);
  if (auto* flag = std::get_if<bool>(&value))
    return *flag ? "true" : "false";
  auto& list = std::get<text_list>(value);
  auto first = list.size() > shown_words ? list.size() - shown_words : 0;
  auto out = first > 0 ? fmt::format("({} more) ", first) : std::string{};
  for (auto i = first; i < list.size(); ++i)
    out += (i > first ? ", " : "") + list[i];
  return out;
}

} // namespace troupe::ranker
