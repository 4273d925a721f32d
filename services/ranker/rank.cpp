#include "services/ranker/rank.hpp"

#include "services/ranker/ensemble.hpp"

#include "common/core/hash.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <unordered_map>
#include <unordered_set>

namespace troupe::ranker {

namespace {

constexpr std::size_t longest_history = 200;  // What models are given: the newest.
constexpr std::size_t retrieval_history = 50; // What item-to-item spreads from.
constexpr std::size_t widest_search = 3;      // Searches for nearest ones, each four times as wide.
constexpr std::size_t reasons_told = 3;
constexpr std::size_t diversity_pool = 5; // Items that compete for a place, times n.

class stopwatch {
public:
  explicit stopwatch(ranking& into) : into_{into} {}
  void end(const char* stage, std::size_t count) {
    auto now = deadline::clock::now();
    into_.stages.push_back(
        {stage, std::chrono::duration_cast<std::chrono::microseconds>(now - since_), count});
    since_ = now;
  }

private:
  ranking& into_;
  deadline::clock::time_point since_ = deadline::clock::now();
};

std::vector<std::string> whole_history(const query& asked) {
  auto all = asked.history;
  all.insert(all.end(), asked.session.begin(), asked.session.end());
  if (all.size() > longest_history)
    all.erase(all.begin(), all.end() - longest_history);
  return all;
}

/// One answer under way.
class ranker {
public:
  ranker(const release& with, const item_catalogue& catalogue, const query& asked)
      : with_{with}, catalogue_{catalogue}, asked_{asked}, history_{whole_history(asked)}, models_{with,
                                                                                                   catalogue,
                                                                                                   asked,
                                                                                                   history_} {
    for (auto& each : asked.exclude)
      out_.emplace(each);
    if (with.rules.filter_seen) {
      seen_.insert(asked.history.begin(), asked.history.end());
      seen_.insert(asked.session.begin(), asked.session.end());
    }
  }

  ranking run() {
    stopwatch watch{answer_};
    models_.check_features(answer_.degraded);
    gather();
    watch.end("candidates", gathered_);
    watch.end("filter", pool_.size()); // Done while gathering, so that sources give what may be shown.
    score();
    watch.end("score", pool_.size());
    boost();
    sort_pool();
    auto chosen = diversify();
    watch.end("rules", chosen.size());
    place(std::move(chosen));
    give_reasons();
    watch.end("explore", answer_.items.size());
    return std::move(answer_);
  }

  ranking like(const std::string& item) {
    stopwatch watch{answer_};
    seen_.clear();
    out_.emplace(item);
    gather_like(item);
    watch.end("candidates", gathered_);
    sort_pool();
    if (pool_.size() > asked_.n)
      pool_.resize(asked_.n);
    for (auto& each : pool_)
      answer_.items.push_back(finish(std::move(each), 1));
    give_reasons();
    watch.end("filter", answer_.items.size());
    return std::move(answer_);
  }

private:
  /// Why an item may not be in the answer; empty where it may.
  std::string_view refused(const std::string& item, const item_card* card) const {
    if (out_.contains(item))
      return "excluded";
    if (seen_.contains(item))
      return "seen";
    if (card)
      if (auto why = card->closed(asked_.now); !why.empty())
        return why;
    auto value = [&](const condition& by) { return card ? card->find(by.attribute) : nullptr; };
    for (auto& each : asked_.filters)
      if (!each.holds(value(each)))
        return "filter of the request";
    for (auto& each : with_.rules.rules)
      if (each.kind == rule_kind::filter && each.when.holds(value(each.when)))
        return "rule";
    return {};
  }

  /// True where the item is a candidate now, for the first or another time.
  bool offer(const std::string& item, const char* source, double score = 0) {
    ++gathered_;
    auto found = places_.find(item);
    if (found == places_.end()) {
      auto* card = catalogue_.find(item);
      auto why = refused(item, card);
      found = places_.emplace(item, why.empty() ? static_cast<std::int64_t>(pool_.size()) : -1).first;
      if (why.empty())
        pool_.push_back({item, card, {}, {}, {}, {}, score});
    }
    if (found->second < 0)
      return false;
    auto& sources = pool_[static_cast<std::size_t>(found->second)].sources;
    if (std::find(sources.begin(), sources.end(), source) == sources.end())
      sources.emplace_back(source);
    return true;
  }

  void gather() {
    if (!asked_.candidates.empty()) {
      for (auto& each : asked_.candidates)
        offer(each, "request");
      return;
    }
    for (auto& source : with_.rules.sources) {
      if (source.name == "nearest")
        nearest(source.n);
      else if (source.name == "item-to-item")
        item_to_item(source.n);
      else if (source.name == "trending")
        first(catalogue_.trending(), source.n, "trending");
      else if (source.name == "recent")
        first(catalogue_.recent(), source.n, "recent");
      else
        popular(source.n);
    }
    // Popular items stand in where too little is left, and exploration needs somebody to explore.
    auto wanted = asked_.n + (with_.rules.exploration > 0 ? with_.rules.explore_among : 0);
    if (pool_.size() < wanted || (history_.empty() && !models_.knows_user()))
      popular(std::max<std::size_t>(wanted, 100));
  }

  void nearest(std::size_t n) {
    for (std::size_t m = 0; m < with_.models.size(); ++m) {
      auto& by = with_.models[m];
      if (!by.index)
        continue;
      auto& vector = models_.user_vector(m);
      if (vector.empty())
        continue;
      // The seen ones come first in the search: ask for as many more. Where filters or hidden items leave too
      // few, ask wider: what is rare stands far behind.
      std::size_t got = 0;
      std::unordered_set<model::row> looked_at;
      auto ask = n + models_.user(m).history.size();
      for (std::size_t turn = 0; turn < widest_search && got < n; ++turn, ask *= 4) {
        for (auto& [row, score] : by.index->search(vector, ask))
          if (got < n && looked_at.insert(row).second)
            got += offer(by.items->id(row), "nearest") ? 1 : 0;
        if (ask >= by.index->size())
          break;
      }
    }
  }

  void item_to_item(std::size_t n) {
    for (std::size_t m = 0; m < with_.models.size(); ++m) {
      auto& by = with_.models[m];
      if (!by.retrieves)
        continue;
      auto& history = models_.user(m).history;
      auto from = history.size() > retrieval_history ? history.end() - retrieval_history : history.begin();
      std::unordered_map<model::row, double> sums;
      for (; from != history.end(); ++from)
        for (auto& each : by.scorer->similar_items(*from, n))
          sums[each.item] += each.weight;
      std::vector<std::pair<double, model::row>> best;
      best.reserve(sums.size());
      for (auto& [row, sum] : sums)
        best.emplace_back(-sum, row);
      std::sort(best.begin(), best.end());
      std::size_t got = 0;
      for (auto& [sum, row] : best)
        if (got < n)
          got += offer(by.items->id(row), "item-to-item") ? 1 : 0;
    }
  }

  void first(const std::vector<const item_card*>& list, std::size_t n, const char* source) {
    std::size_t got = 0;
    for (auto* each : list)
      if (got < n)
        got += offer(each->id, source) ? 1 : 0;
  }

  void popular(std::size_t n) {
    std::size_t got = 0;
    for (auto& each : with_.popular)
      if (got < n)
        got += offer(each, "popular") ? 1 : 0;
  }

  void score() {
    if (models_.score(pool_, answer_.degraded))
      return;
    // No model says anything: the order of popularity, live trends before it.
    std::unordered_map<std::string_view, std::size_t> place;
    for (std::size_t i = 0; i < with_.popular.size(); ++i)
      place.emplace(with_.popular[i], i);
    double strongest = catalogue_.trending().empty() ? 0 : catalogue_.trending().front()->trend;
    for (auto& each : pool_) {
      auto at = place.find(each.item);
      if (at != place.end())
        each.score = 1.0 / (1.0 + static_cast<double>(at->second));
      if (each.card && strongest > 0)
        each.score += each.card->trend / strongest;
    }
  }

  void boost() {
    for (auto& each : with_.rules.rules)
      if (each.kind == rule_kind::boost)
        for (auto& to : pool_)
          if (each.when.holds(to.card ? to.card->find(each.when.attribute) : nullptr)) {
            to.score += each.amount;
            to.notes.push_back("boosted by " + each.name);
          }
  }

  void sort_pool() {
    std::sort(pool_.begin(), pool_.end(),
              [](auto& a, auto& b) { return a.score != b.score ? a.score > b.score : a.item < b.item; });
  }

  const text_list* words(const candidate& of) const {
    auto* value = of.card ? of.card->find(with_.rules.diversity_attribute) : nullptr;
    return value ? std::get_if<text_list>(value) : nullptr;
  }

  static double alike(const text_list* a, const text_list* b) {
    if (!a || !b || a->empty() || b->empty())
      return 0;
    double common = 0;
    for (auto& each : *a)
      common += std::find(b->begin(), b->end(), each) != b->end() ? 1 : 0;
    return common / (static_cast<double>(a->size() + b->size()) - common);
  }

  /// The pool in the order of the answer: by score, or by score and difference among the first.
  std::vector<candidate> diversify() {
    auto mmr = with_.rules.mmr;
    auto head = std::min<std::size_t>(pool_.size(), diversity_pool * asked_.n);
    if (mmr <= 0 || head < 2)
      return std::move(pool_);
    auto most = pool_.front().score, least = pool_[head - 1].score;
    auto span = most > least ? most - least : 1;
    std::vector<double> closest(head, 0);
    std::vector<bool> taken(head, false);
    std::vector<candidate> out;
    for (std::size_t turn = 0; turn < std::min<std::size_t>(head, asked_.n); ++turn) {
      std::size_t best = head;
      double best_value = 0;
      for (std::size_t i = 0; i < head; ++i) {
        auto value = (1 - mmr) * (pool_[i].score - least) / span - mmr * closest[i];
        if (!taken[i] && (best == head || value > best_value)) {
          best = i;
          best_value = value;
        }
      }
      taken[best] = true;
      if (asked_.explain && best != turn)
        pool_[best].notes.push_back(fmt::format("diversity moved it from {} to {}", best + 1, turn + 1));
      auto* chosen = words(pool_[best]);
      for (std::size_t i = 0; i < head; ++i)
        if (!taken[i])
          closest[i] = std::max(closest[i], alike(words(pool_[i]), chosen));
      out.push_back(std::move(pool_[best]));
    }
    for (std::size_t i = 0; i < pool_.size(); ++i)
      if (i >= head || !taken[i])
        out.push_back(std::move(pool_[i]));
    return out;
  }

  bool capped(const candidate& each, const rule& by) const {
    return by.kind == rule_kind::cap &&
           by.when.holds(each.card ? each.card->find(by.when.attribute) : nullptr);
  }

  /// Caps, pins and exploration give each place of the answer its item and its propensity.
  void place(std::vector<candidate> order) {
    auto& rules = with_.rules.rules;
    std::vector<std::optional<candidate>> slots(asked_.n);
    std::vector<std::uint32_t> left;
    for (auto& each : rules)
      left.push_back(each.most);
    std::unordered_set<std::string> pinned;
    for (auto& each : rules)
      if (each.kind == rule_kind::pin && each.position < slots.size() && !slots[each.position] &&
          asked_.candidates.empty() && !pinned.contains(each.item)) {
        auto* card = catalogue_.find(each.item);
        if (!refused(each.item, card).empty())
          continue;
        candidate made;
        auto known =
            std::find_if(order.begin(), order.end(), [&](auto& one) { return one.item == each.item; });
        if (known != order.end()) {
          made = std::move(*known);
          order.erase(known);
        } else {
          made.item = each.item;
          made.card = card;
        }
        made.sources.emplace_back("pinned");
        made.notes.push_back("pinned by " + each.name);
        pinned.emplace(each.item);
        for (std::size_t r = 0; r < rules.size(); ++r)
          if (capped(made, rules[r]) && left[r] > 0)
            --left[r];
        slots[each.position] = std::move(made);
      }
    std::vector<std::size_t> free;
    for (std::size_t p = 0; p < slots.size(); ++p)
      if (!slots[p])
        free.push_back(p);
    std::vector<std::size_t> filled;
    std::vector<candidate> tail;
    for (auto& each : order) {
      bool full = false, counted = false;
      for (std::size_t r = 0; r < rules.size(); ++r)
        if (capped(each, rules[r])) {
          counted = true;
          full = full || left[r] == 0;
        }
      if (filled.size() < free.size()) {
        if (full)
          continue;
        for (std::size_t r = 0; r < rules.size(); ++r)
          if (capped(each, rules[r]))
            --left[r];
        filled.push_back(free[filled.size()]);
        slots[filled.back()] = std::move(each);
      } else if (with_.rules.exploration > 0 && tail.size() < with_.rules.explore_among && !counted) {
        // An item that a cap counts is not explored: it could be one too many.
        tail.push_back(std::move(each));
      }
    }
    auto policy = explore(filled.size(), tail.size(), with_.rules.exploration, asked_.seed);
    for (std::size_t p = 0, k = 0; p < slots.size(); ++p) {
      if (!slots[p])
        continue;
      if (k >= filled.size() || filled[k] != p) {
        answer_.items.push_back(finish(std::move(*slots[p]), 1));
        continue;
      }
      auto from = policy.slots[k++];
      if (from < 0) {
        answer_.items.push_back(finish(std::move(*slots[p]), policy.ranked_propensity));
      } else {
        auto& explored = tail[static_cast<std::size_t>(from)];
        explored.notes.emplace_back("explored");
        answer_.items.push_back(finish(std::move(explored), policy.explored_propensity));
      }
    }
  }

  ranked_item finish(candidate from, double propensity) const {
    ranked_item out;
    out.item = std::move(from.item);
    out.score = from.score;
    out.propensity = propensity;
    out.sources = std::move(from.sources);
    out.because = std::move(from.because);
    out.title = from.card ? from.card->title : std::string{};
    out.models = std::move(from.models);
    if (asked_.explain)
      out.notes = std::move(from.notes);
    return out;
  }

  /// Of the first model that has any. All items at once, because a model may have to solve for the user
  /// first.
  void give_reasons() {
    if (!asked_.explain && asked_.n > 50)
      return;
    for (std::size_t m = 0; m < with_.models.size(); ++m) {
      std::vector<model::row> rows;
      std::vector<ranked_item*> of;
      for (auto& each : answer_.items)
        if (auto row = each.because.empty() ? with_.models[m].items->find(each.item) : std::nullopt) {
          rows.push_back(*row);
          of.push_back(&each);
        }
      auto all = rows.empty() ? std::vector<std::vector<model::reason>>{}
                              : with_.models[m].scorer->attributions(models_.user(m), rows, reasons_told);
      for (std::size_t i = 0; i < all.size(); ++i)
        for (auto& each : all[i])
          of[i]->because.push_back(with_.models[m].items->id(each.item));
    }
  }

  void gather_like(const std::string& item) {
    // Of the first model that knows it: scores of different models cannot be compared.
    for (auto& by : with_.models) {
      auto row = by.items->find(item);
      if (!row)
        continue;
      auto room = asked_.n + asked_.exclude.size() + 100;
      for (auto& each : by.scorer->similar_items(*row, room))
        offer(by.items->id(each.item), "item-to-item", each.weight);
      if (pool_.empty() && by.index)
        for (auto& [near, score] : by.index->search(by.index->vector(*row), room))
          offer(by.items->id(near), "nearest", score);
      if (!pool_.empty())
        return;
    }
    auto* card = catalogue_.find(item);
    candidate self{item, card, {}, {}, {}, {}, 0};
    if (auto* own = words(self)) {
      for (auto* each : catalogue_.trending()) {
        candidate other{each->id, each, {}, {}, {}, {}, 0};
        if (auto by = alike(own, words(other)); by > 0)
          offer(each->id, "attributes", by);
      }
    }
    if (pool_.empty())
      answer_.degraded.push_back(card ? "item: nothing is known that is like it" : "item: unknown");
  }

  const release& with_;
  const item_catalogue& catalogue_;
  const query& asked_;
  std::vector<std::string> history_;
  ensemble models_;
  std::unordered_set<std::string> out_, seen_;
  std::unordered_map<std::string, std::int64_t> places_; ///< In pool_; -1: refused.
  std::vector<candidate> pool_;
  std::size_t gathered_ = 0;
  ranking answer_;
};

} // namespace

exploration explore(std::size_t positions, std::size_t tail, double share, std::uint64_t seed) {
  exploration out;
  out.slots.assign(positions, -1);
  if (tail == 0 || share <= 0 || positions == 0)
    return out;
  auto places = std::max(positions, tail);
  out.explored_propensity = share / static_cast<double>(places);
  out.ranked_propensity = 1 - share * static_cast<double>(tail) / static_cast<double>(places);
  std::mt19937_64 random{hash64(byte_view{reinterpret_cast<const std::byte*>(&seed), sizeof seed})};
  std::vector<std::size_t> draw(places);
  std::iota(draw.begin(), draw.end(), std::size_t{0});
  for (std::size_t p = 0; p < positions; ++p) {
    std::swap(draw[p], draw[std::uniform_int_distribution<std::size_t>{p, places - 1}(random)]);
    bool explored = std::uniform_real_distribution<double>{}(random) < share;
    if (explored && draw[p] < tail)
      out.slots[p] = static_cast<std::int64_t>(draw[p]);
  }
  return out;
}

ranking rank(const release& with, const item_catalogue& catalogue, const query& asked) {
  return ranker{with, catalogue, asked}.run();
}

ranking similar(const release& with, const item_catalogue& catalogue, const std::string& item,
                const query& asked) {
  return ranker{with, catalogue, asked}.like(item);
}

} // namespace troupe::ranker
