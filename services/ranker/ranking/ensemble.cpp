#include "services/ranker/ranking/ensemble.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::ranker {

namespace {

model::feature feature_of(const user_features::feature* from) {
  if (!from || !from->value)
    return {};
  if (auto* text = std::get_if<std::string>(&*from->value))
    return std::string_view{*text};
  if (auto* number = std::get_if<double>(&*from->value))
    return *number;
  if (auto* flag = std::get_if<bool>(&*from->value))
    return *flag ? 1.0 : 0.0;
  return std::span<const std::string_view>{from->words};
}

void read_features(const model::feature_needs& needs, const query& asked, std::vector<model::feature>& into) {
  into.clear();
  for (auto& name : needs.user)
    if (name == "user")
      into.push_back(asked.user.empty() ? model::feature{} : model::feature{asked.user});
    else
      into.push_back(feature_of(asked.known ? asked.known->find(name) : nullptr));
}

/// The view that "view@version" names, with the sign.
std::string_view view_of(std::string_view versioned) {
  return versioned.substr(0, std::min(versioned.size(), versioned.find('@') + 1));
}

} // namespace

ensemble::ensemble(const loaded_release& release, const item_snapshot& items, const item_binding& binding,
                   const query& asked, ranking_scratch& room)
    : release_{release}, items_{items}, binding_{binding}, asked_{asked}, room_{room} {
  room_.users.resize(std::max(room_.users.size(), release.models.size()));
  room_.nearest.resize(std::max(room_.nearest.size(), release.models.size()));
  room_.vector_known.assign(release.models.size(), 0);
  for (std::size_t m = 0; m < release.models.size(); ++m) {
    auto& by = release.models[m];
    auto& user = room_.users[m];
    user.history.clear();
    for (auto each : room_.history)
      if (auto row = by.rows->find(each); row != no_row)
        user.history.push_back(row);
    user.user = by.users && !asked.user.empty() ? by.users->find(asked.user) : std::nullopt;
    user.vector.clear();
    read_features(by.scorer->features(), asked, user.features);
    room_.nearest[m].most = 0;
  }
  nothing_known_ = room_.history.empty() && !knows_user();
}

const std::vector<float>& ensemble::user_vector(std::size_t model) {
  auto& user = room_.users[model];
  if (room_.vector_known[model] == 0) {
    user.vector = release_.models[model].scorer->user_vector(user);
    room_.vector_known[model] = 1;
  }
  return user.vector;
}

bool ensemble::knows_user() const {
  return std::any_of(room_.users.begin(),
                     room_.users.begin() + static_cast<std::ptrdiff_t>(release_.models.size()),
                     [](auto& each) { return each.user.has_value(); });
}

/// Into `rows` and `whose` those that the model can score.
void ensemble::choose(std::size_t model, std::span<const candidate> from) {
  auto& by = release_.models[model];
  room_.rows.clear();
  room_.whose.clear();
  for (std::size_t i = 0; i < from.size(); ++i) {
    auto row = by.rows->find(from[i].item);
    if (row == no_row && by.scorer->items() > 0)
      continue;
    room_.rows.push_back(row == no_row ? 0 : row);
    room_.whose.push_back(static_cast<std::uint32_t>(i));
  }
}

void ensemble::give_inputs(std::size_t model, std::span<const candidate> pool) {
  auto& by = *release_.models[model].scorer;
  auto width = by.input_width();
  room_.inputs.clear();
  if (width == 0)
    return;
  room_.unknown_inputs.resize(std::max(room_.unknown_inputs.size(), room_.whose.size() * width));
  std::size_t unknown = 0;
  for (auto each : room_.whose) {
    auto item = pool[each].item;
    auto* input = binding_.input(model, width, item);
    if (!input) {
      auto made = std::span{room_.unknown_inputs}.subspan(unknown, width);
      binding_.unknown_input(by, model, room_.names.id(item), made);
      unknown += width;
      input = made.data();
    }
    room_.inputs.push_back(input);
  }
}

void ensemble::add(std::size_t model, std::span<candidate> to) {
  auto count = static_cast<double>(room_.whose.size());
  double mean = 0, square = 0;
  for (auto value : room_.scores)
    mean += value / count;
  for (auto value : room_.scores)
    square += (value - mean) * (value - mean);
  auto deviation = std::sqrt(square / count);
  if (!(deviation > 0)) // One number that is none would make one of every score, and these have no order.
    return;
  auto weight = release_.models[model].weight;
  for (std::size_t i = 0; i < room_.whose.size(); ++i)
    to[room_.whose[i]].score += weight * (room_.scores[i] - mean) / deviation;
}

void ensemble::explain(std::size_t model, std::span<const candidate> all, bool whole) {
  for (std::size_t i = 0; i < room_.whose.size(); ++i)
    room_.told[all[room_.whose[i]].told].models.emplace_back(model, room_.scores[i]);
  if (!whole)
    return;
  for (auto& each : all)
    if (auto& told = room_.told[each.told]; told.models.empty() || told.models.back().first != model)
      told.notes.push_back("new to " + release_.models[model].name);
}

/// Gives false where the model has said nothing of this user.
bool ensemble::score_by(std::size_t m, std::span<candidate> all, std::vector<degradation>& degraded) {
  auto& by = release_.models[m];
  choose(m, all);
  give_inputs(m, all);
  room_.scores.assign(room_.rows.size(), 0);
  std::span rows{room_.rows};
  std::span<const float* const> inputs{room_.inputs};
  // In batches of so many candidates, known to the model or not.
  std::size_t done = 0, scored = 0;
  while (done < all.size() && !asked_.until.passed()) {
    if (by.scorer->width() > 0)
      user_vector(m);
    done = std::min(all.size(), done + by.scorer->batch());
    auto to = static_cast<std::size_t>(std::ranges::lower_bound(room_.whose, done) - room_.whose.begin());
    auto count = to - scored;
    if (count > 0)
      by.scorer->score(room_.users[m],
                       {rows.subspan(scored, count), inputs.empty() ? inputs : inputs.subspan(scored, count)},
                       std::span{room_.scores}.subspan(scored, count));
    scored = to;
  }
  if (done < all.size())
    degraded.push_back({"deadline", 1 - static_cast<double>(done) / static_cast<double>(all.size()),
                        done == 0 ? fmt::format("deadline: model {} did not score", by.name)
                                  : fmt::format("deadline: model {} scored {} of {} candidates", by.name,
                                                done, all.size())});
  room_.scores.resize(scored);
  room_.whose.resize(scored);
  if (scored == 0)
    return false;
  add(m, all);
  if (asked_.explain)
    explain(m, all, done == all.size());
  return !nothing_known_ || by.scorer->supports_cold_start();
}

/// Those that dear models are to score, at the front of `all`, by ordinal: their rows follow each other in
/// memory as they do in a walk over it.
std::span<candidate> ensemble::best_of(std::span<candidate> all) const {
  auto& rules = release_.rules;
  auto needed = asked_.n + (rules.exploration > 0 ? rules.explore_among : 0);
  auto count = std::min<std::size_t>(all.size(), std::max(rules.rerank, needed));
  auto best = all.first(count);
  if (count < all.size())
    std::nth_element(all.begin(), best.end(), all.end(), [](auto& a, auto& b) {
      return a.score != b.score ? a.score > b.score : a.item < b.item;
    });
  std::sort(best.begin(), best.end(), [](auto& a, auto& b) { return a.item < b.item; });
  return best;
}

bool ensemble::score(candidate_pool& pool, std::vector<degradation>& degraded) {
  bool said = false, cheap = false, dear = false;
  std::span<candidate> all{pool.all};
  auto takes_part = [&](std::size_t m) {
    return release_.models[m].scores && release_.models[m].weight != 0;
  };
  auto waits = [&](std::size_t m) { return release_.rules.rerank > 0 && release_.models[m].scorer->dear(); };
  for (std::size_t m = 0; m < release_.models.size(); ++m)
    if (takes_part(m) && waits(m))
      dear = true;
    else if (takes_part(m)) {
      cheap = true;
      said |= score_by(m, all, degraded);
    }
  if (!dear)
    return said;
  // With nothing to choose by, all are chosen.
  auto best = cheap ? best_of(all) : all;
  for (std::size_t m = 0; m < release_.models.size(); ++m)
    if (takes_part(m) && waits(m))
      said |= score_by(m, best, degraded);
  if (auto others = all.subspan(best.size()); !others.empty()) {
    auto above = std::ranges::max_element(others, {}, &candidate::score)->score -
                 std::ranges::min_element(best, {}, &candidate::score)->score;
    for (auto& each : others) {
      each.score -= above >= 0 ? above + 1 : 0;
      if (asked_.explain)
        room_.told[each.told].notes.emplace_back("not reranked");
    }
  }
  return said;
}

void ensemble::check_features(std::vector<degradation>& degraded) const {
  for (std::size_t m = 0; m < release_.models.size(); ++m) {
    auto& columns = binding_.columns(m);
    for (std::size_t i = 0; i < columns.size(); ++i)
      if (columns[i] == item_binding::no_column)
        degraded.push_back(
            {"items", 1,
             fmt::format("items: {} is not known, which model {} wants",
                         release_.models[m].scorer->features().item[i], release_.models[m].name)});
  }
  static const std::vector<std::string> none;
  for (auto& by : release_.models)
    for (auto& trained : by.scorer->features().views)
      for (auto* served : {asked_.known ? &asked_.known->views : &none, &items_.views()})
        for (auto& each : *served)
          if (view_of(each) == view_of(trained) && each != trained)
            degraded.push_back({"features", 1,
                                fmt::format("features: model {} was trained on {}, served is {}", by.name,
                                            trained.substr(0, view_of(trained).size() + 12),
                                            each.substr(0, view_of(each).size() + 12))});
}

void score_by_popularity(std::span<candidate> pool, const loaded_release& release,
                         const item_snapshot& items) {
  auto& rank_of = release.popular_rank;
  double strongest = items.trending().empty() ? 0 : items.trend(items.trending().front());
  for (auto& each : pool) {
    if (auto at = index_of(each.item); at < rank_of.size() && rank_of[at] > 0)
      each.score = 1.0 / static_cast<double>(rank_of[at]);
    if (strongest > 0)
      each.score += items.trend(each.item) / strongest;
  }
}

} // namespace troupe::ranker
