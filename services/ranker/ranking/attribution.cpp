#include "services/ranker/ranking/attribution.hpp"

#include <optional>

namespace troupe::ranker {

namespace {

constexpr std::size_t most_attributions = 3; // An item.
constexpr std::size_t long_answer = 50;

bool may_be_named(const ranking_state& state, const std::string& item) {
  auto about = state.items.find(item);
  return !state.eligible.excludes(item) && !(about && (about->hidden || about->deleted));
}

} // namespace

void attribute_to_history(ranking_state& state) {
  if (!state.asked.explain && state.asked.n > long_answer)
    return;
  for (std::size_t m = 0; m < state.release.models.size(); ++m) {
    auto& model = state.release.models[m];
    std::vector<model::row> rows;
    std::vector<ranked_item*> open;
    for (auto& each : state.answer.items)
      if (auto row = each.because.empty() ? model.items->find(each.item) : std::nullopt) {
        rows.push_back(*row);
        open.push_back(&each);
      }
    if (rows.empty())
      continue;
    auto found = model.scorer->attributions(state.models.user(m), rows, most_attributions);
    for (std::size_t i = 0; i < found.size(); ++i)
      for (auto& each : found[i])
        if (auto& item = model.items->id(each.item); may_be_named(state, item))
          open[i]->because.push_back(item);
  }
}

} // namespace troupe::ranker
