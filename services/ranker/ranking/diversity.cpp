#include "services/ranker/ranking/diversity.hpp"

#include <algorithm>

namespace troupe::ranker {

namespace {

constexpr std::size_t competitors = 5; // Items that compete for a place, times n.

} // namespace

const text_list* words_of(const item_attributes* about, std::string_view attribute) {
  auto* value = about ? about->find(attribute) : nullptr;
  return value ? std::get_if<text_list>(value) : nullptr;
}

double word_overlap(const text_list* a, const text_list* b) {
  if (!a || !b || a->empty() || b->empty())
    return 0;
  double common = 0;
  for (auto& each : *a)
    common += std::find(b->begin(), b->end(), each) != b->end() ? 1 : 0;
  return common / (static_cast<double>(a->size() + b->size()) - common);
}

std::vector<candidate> diversify(std::vector<candidate> pool, const ruleset& rules, std::size_t n,
                                 bool explain) {
  auto mmr = rules.mmr;
  auto head = std::min<std::size_t>(pool.size(), competitors * n);
  if (mmr <= 0 || head < 2)
    return pool;
  auto most = pool.front().score, least = pool[head - 1].score;
  auto span = most > least ? most - least : 1;
  std::vector<double> closest(head, 0);
  std::vector<bool> taken(head, false);
  std::vector<candidate> out;
  out.reserve(pool.size());
  for (std::size_t turn = 0; turn < std::min<std::size_t>(head, n); ++turn) {
    std::size_t best = head;
    double best_value = 0;
    for (std::size_t i = 0; i < head; ++i) {
      auto value = (1 - mmr) * (pool[i].score - least) / span - mmr * closest[i];
      if (!taken[i] && (best == head || value > best_value)) {
        best = i;
        best_value = value;
      }
    }
    taken[best] = true;
    if (explain && best != turn)
      pool[best].notes.push_back(fmt::format("diversity moved it from {} to {}", best + 1, turn + 1));
    auto* chosen = words_of(pool[best].about, rules.diversity_attribute);
    for (std::size_t i = 0; i < head; ++i)
      if (!taken[i])
        closest[i] =
            std::max(closest[i], word_overlap(words_of(pool[i].about, rules.diversity_attribute), chosen));
    out.push_back(std::move(pool[best]));
  }
  for (std::size_t i = 0; i < pool.size(); ++i)
    if (i >= head || !taken[i])
      out.push_back(std::move(pool[i]));
  return out;
}

} // namespace troupe::ranker
