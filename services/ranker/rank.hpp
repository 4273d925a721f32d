#pragma once

#include "services/ranker/item_catalogue.hpp"
#include "services/ranker/release.hpp"

#include "common/core/time.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace troupe::ranker {

/// What is asked, with what is known of the user at this moment.
struct query {
  std::string user;
  std::vector<std::string> history; ///< Of the feature store, oldest first.
  std::vector<std::string> session; ///< Of this visit, oldest first, later than the history.
  std::vector<attribute> features;  ///< Of the user, by "view.feature": those that are present.
  std::vector<std::string> views;   ///< "view@version" behind them.
  std::vector<condition> filters;
  std::vector<std::string> exclude;
  std::vector<std::string> candidates; ///< Where given, these and no others.
  std::uint32_t n = 10;
  bool explain = false;
  std::uint64_t seed = 0;
  std::int64_t now = 0; ///< Microseconds since 1970 UTC: what has expired by then is not shown.
  deadline until{deadline::clock::time_point::max()}; ///< Models that would begin later do not score.
};

struct ranked_item {
  std::string item;
  double score = 0;
  double propensity = 1;
  std::vector<std::string> sources;
  std::vector<std::string> because;
  std::string title;
  std::vector<std::pair<std::string, double>> models;
  std::vector<std::string> notes;
};

struct stage_time {
  std::string name;
  std::chrono::microseconds took{};
  std::uint64_t count = 0;
};

struct ranking {
  std::vector<ranked_item> items; ///< Best first.
  std::vector<std::string> degraded;
  std::vector<stage_time> stages;
};

/// Ranks: gathers candidates from the sources of the release, takes out what was seen, hidden, deleted,
/// expired, excluded or filtered, scores the rest with every model (each model's scores are brought to mean 0
/// and deviation 1 over the candidates it knows, then weighted and added; an item a model does not know
/// stands at its mean), applies boosts, diversity (maximal marginal relevance; Carbonell and Goldstein 1998),
/// caps, pins and exploration. A user of whom nothing is known gets trending and popular items. Reads only
/// what it is given: any thread, no waiting.
ranking rank(const release& with, const item_catalogue& catalogue, const query& asked);

/// Items like `item`: nearest in the models' tables or vectors; for an item no model knows, the strongest
/// items that share most of its attribute `diversity_attribute`.
ranking similar(const release& with, const item_catalogue& catalogue, const std::string& item,
                const query& asked);

/// The epsilon policy of one answer. `slots[p]` says which of `tail` stands at position p, or -1 for the item
/// that the ranking put there. Each position of `positions` is explored with probability `share`; which item
/// of the tail it then gets is a uniform draw without replacement over max(positions, tail) places, of which
/// those beyond the tail are empty. So an item of the tail stands at a position with probability share /
/// places, and the ranked item with 1 - share * tail / places, exactly.
struct exploration {
  std::vector<std::int64_t> slots;
  double explored_propensity = 0;
  double ranked_propensity = 1;
};
exploration explore(std::size_t positions, std::size_t tail, double share, std::uint64_t seed);

} // namespace troupe::ranker
