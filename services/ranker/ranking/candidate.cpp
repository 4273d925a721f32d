#include "services/ranker/ranking/candidate.hpp"

#include <algorithm>

namespace troupe::ranker {

std::vector<std::string> source_set::names() const {
  std::vector<std::string> out;
  for (unsigned i = 0; i < candidate_source_count; ++i)
    if ((bits_ >> i & 1) != 0)
      out.emplace_back(to_string(static_cast<candidate_source>(i)));
  return out;
}

bool candidate_pool::offer(const std::string& item, candidate_source source, double score) {
  ++offered_;
  auto [found, is_new] = places_.try_emplace(item, -1);
  if (is_new) {
    const item_attributes* about = nullptr;
    if (auto row = items_.find(item))
      about = &rows_.emplace_back(std::move(*row));
    if (eligible_.reason_against(item, about).empty()) {
      found->second = static_cast<std::int64_t>(all.size());
      all.push_back({item, about, score, {}, {}, {}});
    }
  }
  if (found->second < 0)
    return false;
  all[static_cast<std::size_t>(found->second)].sources.add(source);
  return true;
}

page_shortage candidate_pool::shortage() const {
  page_shortage out{static_cast<std::uint32_t>(places_.size())};
  for (auto& [item, place] : places_)
    if (place < 0) {
      auto row = items_.find(item);
      ++out.left_out[std::string{eligible_.reason_against(item, row ? &*row : nullptr)}];
    }
  return out;
}

void candidate_pool::sort() {
  std::sort(all.begin(), all.end(),
            [](auto& a, auto& b) { return a.score != b.score ? a.score > b.score : a.item < b.item; });
}

ranked_item to_ranked_item(candidate from, double propensity, bool explain) {
  ranked_item out;
  out.item = std::move(from.item);
  out.score = from.score;
  out.propensity = propensity;
  out.sources = from.sources.names();
  out.title = from.about ? from.about->title : std::string{};
  out.models = std::move(from.models);
  if (explain)
    out.notes = std::move(from.notes);
  return out;
}

} // namespace troupe::ranker
