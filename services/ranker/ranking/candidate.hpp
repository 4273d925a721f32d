#pragma once

#include "services/ranker/items/item_snapshot.hpp"
#include "services/ranker/ranking/eligibility.hpp"
#include "services/ranker/ranking/query.hpp"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe::ranker {

/// The sources that named one item.
class source_set {
public:
  void add(candidate_source source) noexcept {
    bits_ = static_cast<std::uint16_t>(bits_ | 1u << static_cast<unsigned>(source));
  }
  /// In the order of the enumeration.
  std::vector<std::string> names() const;

private:
  static_assert(candidate_source_count <= 16);
  std::uint16_t bits_ = 0;
};

/// An item on its way into an answer.
struct candidate {
  std::string item;
  const item_attributes* about = nullptr; ///< nullptr where the snapshot does not have it.
  double score = 0;
  source_set sources;
  std::vector<std::pair<std::string, double>> models; ///< explain: the score of each.
  std::vector<std::string> notes;                     ///< explain: what moved it.

  /// nullptr where the item has no such attribute.
  const attribute_value* find(std::string_view attribute) const {
    return about ? about->find(attribute) : nullptr;
  }
};

/// The candidates of one answer, each once, of those that may be shown. One thread; what is offered must
/// outlive it.
class candidate_pool {
public:
  candidate_pool(const item_snapshot& items, const eligibility& eligible)
      : items_{items}, eligible_{eligible} {}

  /// True where the item is a candidate now, for the first or another time.
  bool offer(const std::string& item, candidate_source source, double score = 0);

  /// Best first; of equals by id.
  void sort();

  /// Whether the item was offered and may be shown.
  bool has(std::string_view item) const {
    auto found = places_.find(std::string{item});
    return found != places_.end() && found->second >= 0;
  }

  /// How many items were offered, and how many of them may not be shown, by reason. Judges these again.
  page_shortage shortage() const;

  /// How many times something was offered.
  std::size_t offered() const noexcept { return offered_; }

  std::vector<candidate> all;

private:
  const item_snapshot& items_;
  const eligibility& eligible_;
  std::unordered_map<std::string, std::int64_t> places_; ///< In `all`; -1: not eligible.
  std::size_t offered_ = 0;
  std::deque<item_attributes> rows_; ///< Of those that the snapshot has.
};

/// A candidate as the answer gives it. What explains it stays away unless `explain`.
ranked_item to_ranked_item(candidate from, double propensity, bool explain);

} // namespace troupe::ranker
