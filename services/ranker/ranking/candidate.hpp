#pragma once

#include "services/ranker/ranking/eligibility.hpp"
#include "services/ranker/ranking/query.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace troupe::ranker {

/// An item on its way into an answer.
struct candidate {
  item_ord item = no_item;
  std::uint32_t told = 0; ///< explain: its place among the explanations.
  double score = 0;
  source_set sources;
};
static_assert(sizeof(candidate) <= 24);

/// What is told of a candidate where that is asked for.
struct explanation {
  std::vector<std::pair<std::uint32_t, double>> models; ///< The score of each.
  std::vector<std::string> notes;                       ///< What moved it.
};

/// The candidates of one answer, each once, of those that may be shown. One thread; what it is made of must
/// outlive it.
class candidate_pool {
public:
  candidate_pool(std::vector<candidate>& room, std::vector<item_ord>& refused, std::vector<explanation>* told,
                 item_marks& marks, const request_items& names, const eligibility& eligible)
      : all{room}, refused_{refused}, told_{told}, marks_{marks}, names_{names}, eligible_{eligible} {
    all.clear();
    refused_.clear();
    if (told_)
      told_->clear();
  }

  /// True where the item is a candidate now, for the first or another time.
  bool offer(item_ord item, candidate_source source, double score = 0);

  /// Whether the item is a candidate or could be one; one that may not be shown counts as offered.
  bool may_be(item_ord item);

  /// The first `count` become the best, best first; of equals by id. The others follow in no order.
  void sort_first(std::size_t count);
  void sort() { sort_first(all.size()); }
  std::size_t sorted() const noexcept { return sorted_; }
  /// Those behind the sorted ones are in order, too.
  void sort_rest();

  /// Takes one out, which stays offered; the others keep their order.
  candidate take(std::size_t at);

  /// Whether the item was offered and may be shown.
  bool has(item_ord item) const noexcept { return marks_.at(item) >= item_marks::first_place; }

  /// How many items were offered, and how many of them may not be shown, by reason. Judges these again.
  page_shortage shortage() const;

  /// How many times something was offered.
  std::size_t offered() const noexcept { return offered_; }

  std::vector<candidate>& all;

private:
  bool ahead(const candidate& a, const candidate& b) const {
    return a.score != b.score ? a.score > b.score : names_.id(a.item) < names_.id(b.item);
  }

  std::vector<item_ord>& refused_;
  std::vector<explanation>* told_; ///< null: nothing is to be explained.
  item_marks& marks_;
  const request_items& names_;
  const eligibility& eligible_;
  std::size_t offered_ = 0, accepted_ = 0, sorted_ = 0;
};

} // namespace troupe::ranker
