#include "services/ranker/ranking/ensemble.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_map>

namespace troupe::ranker {

namespace {

constexpr std::size_t micro_batch = 128;                        // Candidates between two looks at the clock.
constexpr std::size_t no_column = static_cast<std::size_t>(-1); // Not in the snapshot: missing.
constexpr std::size_t id_column = static_cast<std::size_t>(-2); // The item itself.

model::feature feature_of(const attribute_value* value) {
  if (!value)
    return {};
  if (auto* text = std::get_if<std::string>(value))
    return std::string_view{*text};
  if (auto* list = std::get_if<text_list>(value))
    return std::span<const std::string>{*list};
  if (auto* number = std::get_if<double>(value))
    return *number;
  return std::get<bool>(*value) ? 1.0 : 0.0;
}

std::vector<model::feature> features_of_user(const model::feature_needs& needs, const query& asked) {
  std::vector<model::feature> out;
  for (auto& name : needs.user) {
    if (name == "user") {
      out.push_back(asked.user.empty() ? model::feature{} : model::feature{std::string_view{asked.user}});
      continue;
    }
    auto found = std::find_if(asked.features.begin(), asked.features.end(),
                              [&](auto& each) { return each.name == name; });
    out.push_back(feature_of(found == asked.features.end() ? nullptr : &found->value));
  }
  return out;
}

std::vector<std::size_t> columns_of(const model::feature_needs& needs, const item_snapshot& items) {
  std::vector<std::size_t> out;
  for (auto& name : needs.item) {
    auto& has = items.feature_names();
    auto found = std::find(has.begin(), has.end(), name);
    out.push_back(name == "item"       ? id_column
                  : found == has.end() ? no_column
                                       : static_cast<std::size_t>(found - has.begin()));
  }
  return out;
}

/// The view that "view@version" names, with the sign.
std::string_view view_of(std::string_view versioned) {
  return versioned.substr(0, std::min(versioned.size(), versioned.find('@') + 1));
}

} // namespace

/// What one call of a model scores, and to whom the scores belong.
struct ensemble::batch {
  std::vector<model::row> rows;
  std::vector<model::feature> features;
  std::vector<std::size_t> whose;
};

ensemble::ensemble(const loaded_release& release, const item_snapshot& items, const query& asked,
                   const std::vector<std::string>& history)
    : release_{release}, items_{items}, asked_{asked}, vector_known_(release.models.size(), false) {
  for (auto& by : release.models) {
    auto& user = users_.emplace_back();
    for (auto& each : history)
      if (auto row = by.items->find(each))
        user.history.push_back(*row);
    if (by.users && !asked.user.empty())
      user.user = by.users->find(asked.user);
    auto& needs = by.scorer->features();
    user.features = features_of_user(needs, asked);
    item_columns_.push_back(columns_of(needs, items));
  }
  nothing_known_ = history.empty() && !knows_user();
}

const std::vector<float>& ensemble::user_vector(std::size_t model) {
  if (!vector_known_[model]) {
    users_[model].vector = release_.models[model].scorer->user_vector(users_[model]);
    vector_known_[model] = true;
  }
  return users_[model].vector;
}

bool ensemble::knows_user() const {
  return std::any_of(users_.begin(), users_.end(), [](auto& each) { return each.user.has_value(); });
}

void ensemble::fill(const loaded_model& model, const std::vector<candidate>& pool, std::size_t from,
                    std::size_t to, batch& into) const {
  into.rows.clear();
  into.features.clear();
  into.whose.clear();
  auto& columns = item_columns_[static_cast<std::size_t>(&model - release_.models.data())];
  for (auto i = from; i < to; ++i) {
    auto row = model.items->find(pool[i].item);
    if (!row && model.scorer->items() > 0)
      continue;
    into.rows.push_back(row.value_or(0));
    into.whose.push_back(i);
    for (auto column : columns)
      if (column == id_column)
        into.features.emplace_back(std::string_view{pool[i].item});
      else
        into.features.push_back(column == no_column || !pool[i].about
                                    ? model::feature{}
                                    : feature_of(pool[i].about->feature(column)));
  }
}

bool ensemble::score(std::vector<candidate>& pool, std::vector<std::string>& degraded) {
  bool said = false;
  batch now;
  std::vector<std::pair<std::size_t, float>> scores;
  std::vector<float> part;
  for (std::size_t m = 0; m < release_.models.size(); ++m) {
    auto& by = release_.models[m];
    if (!by.scores || by.weight == 0)
      continue;
    scores.clear();
    std::size_t done = 0;
    while (done < pool.size() && !asked_.until.passed()) {
      if (by.scorer->width() > 0)
        user_vector(m);
      auto to = std::min(pool.size(), done + micro_batch);
      fill(by, pool, done, to, now);
      part.assign(now.rows.size(), 0);
      by.scorer->score(users_[m], {now.rows, now.features}, part);
      for (std::size_t i = 0; i < part.size(); ++i)
        scores.emplace_back(now.whose[i], part[i]);
      done = to;
    }
    if (done < pool.size())
      degraded.push_back(done == 0 ? fmt::format("deadline: model {} did not score", by.name)
                                   : fmt::format("deadline: model {} scored {} of {} candidates", by.name,
                                                 done, pool.size()));
    if (scores.empty())
      continue;
    double mean = 0, square = 0;
    for (auto& [whose, value] : scores)
      mean += value / static_cast<double>(scores.size());
    for (auto& [whose, value] : scores)
      square += (value - mean) * (value - mean);
    auto deviation = std::sqrt(square / static_cast<double>(scores.size()));
    for (auto& [whose, value] : scores) {
      if (deviation > 0)
        pool[whose].score += by.weight * (value - mean) / deviation;
      if (asked_.explain)
        pool[whose].models.emplace_back(by.name, value);
    }
    if (asked_.explain && done == pool.size())
      for (auto& each : pool)
        if (each.models.empty() || each.models.back().first != by.name)
          each.notes.push_back("new to " + by.name);
    said = said || !nothing_known_ || by.scorer->supports_cold_start();
  }
  return said;
}

void ensemble::check_features(std::vector<std::string>& degraded) const {
  for (std::size_t m = 0; m < release_.models.size(); ++m)
    for (std::size_t i = 0; i < item_columns_[m].size(); ++i)
      if (item_columns_[m][i] == no_column)
        degraded.push_back(fmt::format("items: {} is not known, which model {} wants",
                                       release_.models[m].scorer->features().item[i],
                                       release_.models[m].name));
  for (auto& by : release_.models)
    for (auto& trained : by.scorer->features().views)
      for (auto* served : {&asked_.views, &items_.views()})
        for (auto& each : *served)
          if (view_of(each) == view_of(trained) && each != trained)
            degraded.push_back(fmt::format("features: model {} was trained on {}, served is {}", by.name,
                                           trained.substr(0, view_of(trained).size() + 12),
                                           each.substr(0, view_of(each).size() + 12)));
}

void score_by_popularity(std::vector<candidate>& pool, const loaded_release& release,
                         const item_snapshot& items) {
  std::unordered_map<std::string_view, std::size_t> rank_of;
  for (std::size_t i = 0; i < release.popular.size(); ++i)
    rank_of.emplace(release.popular[i], i);
  double strongest = items.trending().empty() ? 0 : items.trend(items.trending().front());
  for (auto& each : pool) {
    if (auto found = rank_of.find(each.item); found != rank_of.end())
      each.score = 1.0 / (1.0 + static_cast<double>(found->second));
    if (each.about && strongest > 0)
      each.score += each.about->trend / strongest;
  }
}

} // namespace troupe::ranker
