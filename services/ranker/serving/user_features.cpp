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

/// The end of a list, and how many there are before it.
template <class Word>
std::string list_text(std::size_t size, const Word& word) {
  auto first = size > shown_words ? size - shown_words : 0;
  auto out = first > 0 ? fmt::format("({} more) ", first) : std::string{};
  for (auto i = first; i < size; ++i) {
    out += i > first ? ", " : "";
    out += word(i);
  }
  return out;
}

} // namespace

const user_features::feature* user_features::find(std::string_view name) const noexcept {
  for (auto& each : features)
    if (each.name == name)
      return &each;
  return nullptr;
}

expected<user_features> decode_user_features(const chunk& payload, const item_space& space) {
  TROUPE_TRY(answer, feature_store::decode_features(payload, 1));
  user_features out;
  out.features.reserve(answer.columns.size());
  for (auto& column : answer.columns) {
    auto& to = out.features.emplace_back();
    to.name = std::move(column.name);
    to.status = column.status[0];
    to.age_us = column.age_us[0];
    to.value = value_of(column);
    auto* list = to.value ? std::get_if<text_list>(&*to.value) : nullptr;
    if (list && out.features.size() == 1) {
      out.history = item_list{space, *list};
      to.value.reset();
    } else if (list) {
      to.words.assign(list->begin(), list->end());
    }
  }
  out.views = std::move(answer.view_versions);
  out.deleted = answer.deleted[0] != 0;
  return out;
}

std::string history_text(const item_list& history, const item_space& space) {
  auto unknown = history.unknown().begin();
  std::vector<std::string_view> ids;
  for (std::size_t i = 0; i < history.size(); ++i)
    if (history.items()[i] == no_item)
      ids.emplace_back((unknown++)->second);
    else
      ids.push_back(space.id(history.items()[i]));
  return list_text(ids.size(), [&](std::size_t i) { return ids[i]; });
}

std::string value_text(const attribute_value& value) {
  if (auto* text = std::get_if<std::string>(&value))
    return *text;
  if (auto* number = std::get_if<double>(&value))
    return fmt::format("{}", *number);
  if (auto* flag = std::get_if<bool>(&value))
    return *flag ? "true" : "false";
  auto& list = std::get<text_list>(value);
  return list_text(list.size(), [&](std::size_t i) -> std::string_view { return list[i]; });
}

} // namespace troupe::ranker
