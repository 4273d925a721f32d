#include "services/ranker/ranking/placement.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_set>

namespace troupe::ranker {

namespace {

/// How many more items each cap lets in.
class cap_budget {
public:
  explicit cap_budget(const std::vector<rule>& rules) {
    for (auto& each : rules)
      if (each.kind == rule_kind::cap)
        caps_.push_back({&each.when, each.most});
  }

  bool counts(const candidate& item) const {
    return std::any_of(caps_.begin(), caps_.end(), [&](auto& each) { return each.counts(item); });
  }
  bool full_for(const candidate& item) const {
    return std::any_of(caps_.begin(), caps_.end(),
                       [&](auto& each) { return each.left == 0 && each.counts(item); });
  }
  void take(const candidate& item) {
    for (auto& each : caps_)
      if (each.left > 0 && each.counts(item))
        --each.left;
  }

private:
  struct cap {
    const attribute_predicate* when;
    std::uint32_t left;
    bool counts(const candidate& item) const { return when->holds(item.find(when->attribute)); }
  };
  std::vector<cap> caps_;
};

/// The pinned item, out of `order` where it stands there.
candidate take_pinned(const rule& pin, std::vector<candidate>& order, const item_attributes* about) {
  candidate made;
  auto known = std::find_if(order.begin(), order.end(), [&](auto& one) { return one.item == pin.item; });
  if (known != order.end()) {
    made = std::move(*known);
    order.erase(known);
  } else {
    made.item = pin.item;
    made.about = about;
  }
  made.sources.add(candidate_source::pinned);
  made.notes.push_back("pinned by " + pin.name);
  return made;
}

void place_pinned(placement& into, std::vector<candidate>& order, const ranking_state& state,
                  cap_budget& caps) {
  if (!state.asked.candidates.empty())
    return;
  std::unordered_set<std::string_view> pinned;
  for (auto& each : state.release.rules.rules) {
    if (each.kind != rule_kind::pin || each.position >= into.slots.size() || into.slots[each.position] ||
        pinned.contains(each.item))
      continue;
    auto row = state.items.find(each.item);
    auto* about = row ? &into.pinned.emplace_back(std::move(*row)) : nullptr;
    if (!state.eligible.reason_against(each.item, about).empty())
      continue;
    auto& slot = into.slots[each.position].emplace(take_pinned(each, order, about));
    caps.take(slot);
    pinned.insert(each.item);
  }
}

} // namespace

void apply_boosts(std::vector<candidate>& pool, const ruleset& rules, bool explain) {
  for (auto& each : rules.rules)
    if (each.kind == rule_kind::boost)
      for (auto& item : pool)
        if (each.when.holds(item.find(each.when.attribute))) {
          item.score += each.amount;
          if (explain)
            item.notes.push_back("boosted by " + each.name);
        }
}

placement place(std::vector<candidate> order, const ranking_state& state) {
  auto& rules = state.release.rules;
  placement out;
  out.slots.resize(state.asked.n);
  cap_budget caps{rules.rules};
  place_pinned(out, order, state, caps);
  std::size_t next = 0;
  auto skip_taken = [&] {
    while (next < out.slots.size() && out.slots[next])
      ++next;
  };
  skip_taken();
  for (auto& each : order) {
    if (next < out.slots.size()) {
      if (caps.full_for(each))
        continue;
      caps.take(each);
      out.slots[next] = std::move(each);
      out.ranked.push_back(next);
      skip_taken();
    } else if (rules.exploration > 0 && out.tail.size() < rules.explore_among && !caps.counts(each)) {
      out.tail.push_back(std::move(each));
    }
  }
  return out;
}

} // namespace troupe::ranker
