#include "services/ranker/ranking/placement.hpp"

#include <algorithm>

namespace troupe::ranker {

namespace {

/// How many more items each cap lets in.
class cap_budget {
public:
  explicit cap_budget(const ranking_state& state) : binding_{*state.binding} {
    auto& rules = state.release.rules.rules;
    for (std::size_t r = 0; r < rules.size(); ++r)
      if (rules[r].kind == rule_kind::cap)
        caps_.push_back({r, rules[r].most});
  }

  bool counts(item_ord item) const {
    return std::any_of(caps_.begin(), caps_.end(),
                       [&](auto& each) { return binding_.meant(each.rule, item); });
  }
  bool full_for(item_ord item) const {
    return std::any_of(caps_.begin(), caps_.end(),
                       [&](auto& each) { return each.left == 0 && binding_.meant(each.rule, item); });
  }
  void take(item_ord item) {
    for (auto& each : caps_)
      if (each.left > 0 && binding_.meant(each.rule, item))
        --each.left;
  }

private:
  struct cap {
    std::size_t rule;
    std::uint32_t left;
  };
  const item_binding& binding_;
  std::vector<cap> caps_;
};

/// The pinned item, out of the pool where it stands there.
candidate take_pinned(const rule& pin, item_ord item, ranking_state& state) {
  auto& pool = state.pool.all;
  candidate made;
  auto known = std::find_if(pool.begin(), pool.end(), [&](auto& one) { return one.item == item; });
  if (known != pool.end()) {
    made = state.pool.take(static_cast<std::size_t>(known - pool.begin()));
  } else {
    made.item = item;
    made.told = static_cast<std::uint32_t>(state.room.told.size());
    if (state.asked.explain)
      state.room.told.emplace_back();
  }
  made.sources.add(candidate_source::pinned);
  if (state.asked.explain)
    state.room.told[made.told].notes.push_back("pinned by " + pin.name);
  return made;
}

void place_pinned(placement& into, ranking_state& state, cap_budget& caps) {
  if (!state.asked.candidates.empty())
    return;
  auto& rules = state.release.rules.rules;
  for (std::size_t r = 0; r < rules.size(); ++r) {
    auto& each = rules[r];
    if (each.kind != rule_kind::pin || each.position >= into.slots.size())
      continue;
    auto item = state.release.pinned[r];
    auto& slot = into.slots[each.position];
    if (slot.item != no_item ||
        std::ranges::any_of(into.slots, [&](auto& one) { return one.item == item; }) ||
        !state.eligible.may_be_shown(item))
      continue;
    slot = take_pinned(each, item, state);
    caps.take(item);
  }
}

} // namespace

void apply_boosts(ranking_state& state) {
  auto& rules = state.release.rules.rules;
  for (std::size_t r = 0; r < rules.size(); ++r)
    if (rules[r].kind == rule_kind::boost)
      for (auto& item : state.pool.all)
        if (state.binding->meant(r, item.item)) {
          item.score += rules[r].amount;
          if (state.asked.explain)
            state.room.told[item.told].notes.push_back("boosted by " + rules[r].name);
        }
}

placement place(ranking_state& state) {
  auto& rules = state.release.rules;
  auto& pool = state.pool;
  placement out;
  out.slots.resize(state.asked.n);
  out.ranked.reserve(state.asked.n);
  cap_budget caps{state};
  place_pinned(out, state, caps);
  std::size_t next = 0;
  auto skip_taken = [&] {
    while (next < out.slots.size() && out.slots[next].item != no_item)
      ++next;
  };
  skip_taken();
  auto full = [&] {
    return next >= out.slots.size() && (rules.exploration <= 0 || out.tail.size() >= rules.explore_among);
  };
  for (std::size_t i = 0; i < pool.all.size() && !full(); ++i) {
    if (i == pool.sorted()) // Caps let few in: the others are needed, too.
      pool.sort_rest();
    auto& each = pool.all[i];
    if (next < out.slots.size()) {
      if (caps.full_for(each.item))
        continue;
      caps.take(each.item);
      out.slots[next] = each;
      out.ranked.push_back(next);
      skip_taken();
    } else if (!caps.counts(each.item)) {
      out.tail.push_back(each);
    }
  }
  return out;
}

} // namespace troupe::ranker
