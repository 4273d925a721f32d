#include "services/ranker/ranking/candidate.hpp"

#include <algorithm>

namespace troupe::ranker {

std::vector<std::string> source_set::names() const {
  std::vector<std::string> out;
  for (unsigned i = 0; i < candidate_source_count; ++i)
    if (has(static_cast<candidate_source>(i)))
      out.emplace_back(to_string(static_cast<candidate_source>(i)));
  return out;
}

bool candidate_pool::offer(item_ord item, candidate_source source, double score) {
  ++offered_;
  auto& mark = marks_[item];
  if (mark >= item_marks::first_place) {
    all[mark / item_marks::first_place - 1].sources.add(source);
    return true;
  }
  if (!may_be(item))
    return false;
  candidate made{item, static_cast<std::uint32_t>(all.size()), score, {}};
  made.sources.add(source);
  all.push_back(made);
  ++accepted_;
  if (told_)
    told_->emplace_back();
  mark |= static_cast<std::uint32_t>(all.size()) * item_marks::first_place;
  return true;
}

bool candidate_pool::may_be(item_ord item) {
  auto& mark = marks_[item];
  if (mark >= item_marks::first_place)
    return true;
  if ((mark & item_marks::refused) != 0)
    return false;
  if (eligible_.may_be_shown(item))
    return true;
  mark |= item_marks::refused;
  refused_.push_back(item);
  return false;
}

candidate candidate_pool::take(std::size_t at) {
  auto out = all[at];
  all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
  sorted_ -= at < sorted_ ? 1 : 0;
  return out;
}

page_shortage candidate_pool::shortage() const {
  page_shortage out{static_cast<std::uint32_t>(accepted_ + refused_.size())};
  for (auto each : refused_)
    ++out.left_out[std::string{eligible_.reason_against(each)}];
  return out;
}

void candidate_pool::sort_first(std::size_t count) {
  auto by = [&](auto& a, auto& b) { return ahead(a, b); };
  sorted_ = std::min(count, all.size());
  auto end = all.begin() + static_cast<std::ptrdiff_t>(sorted_);
  if (end != all.end())
    std::nth_element(all.begin(), end, all.end(), by);
  std::sort(all.begin(), end, by);
}

void candidate_pool::sort_rest() {
  std::sort(all.begin() + static_cast<std::ptrdiff_t>(sorted_), all.end(),
            [&](auto& a, auto& b) { return ahead(a, b); });
  sorted_ = all.size();
}

} // namespace troupe::ranker
