#include "services/ranker/ranking/attribution.hpp"

namespace troupe::ranker {

namespace {

constexpr std::size_t long_answer = 50;

bool may_be_named(const ranking_state& state, item_ord item) {
  return !state.eligible.excludes(item) && !state.items.hidden(item) && !state.items.deleted(item);
}

} // namespace

void attribute_to_history(ranking_state& state) {
  if (!state.asked.explain && state.asked.n > long_answer)
    return;
  auto& room = state.room;
  for (std::size_t m = 0; m < state.release.models.size(); ++m) {
    auto& model = state.release.models[m];
    room.rows.clear();
    room.whose.clear();
    for (std::size_t i = 0; i < state.answer.items.size(); ++i) {
      auto& each = state.answer.items[i];
      if (!each.because.empty())
        continue;
      if (auto row = model.rows->find(room.names.add(each.item)); row != no_row) {
        room.rows.push_back(row);
        room.whose.push_back(static_cast<std::uint32_t>(i));
      }
    }
    if (room.rows.empty())
      continue;
    room.reasons.resize(room.rows.size() * reason_list::most);
    model.scorer->attributions(state.models.user(m), room.rows, reason_list::most, room.reasons);
    for (std::size_t i = 0; i < room.reasons.size(); ++i) {
      if (!(room.reasons[i].weight > 0))
        continue;
      if (auto item = model.rows->item(room.reasons[i].item); may_be_named(state, item))
        state.answer.items[room.whose[i / reason_list::most]].because.add(room.names.id(item));
    }
  }
}

} // namespace troupe::ranker
