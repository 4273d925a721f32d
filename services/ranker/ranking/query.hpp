#pragma once

#include "services/ranker/client/rules.hpp"

#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
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
  std::vector<attribute_predicate> filters;
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
  std::vector<std::string> because; ///< Items of the history.
  std::string title;
  std::vector<std::pair<std::string, double>> models;
  std::vector<std::string> notes;
};

struct stage_time {
  std::string name;
  std::chrono::microseconds took{};
  std::uint64_t count = 0;
};

/// Why an answer has fewer items than were asked for.
struct page_shortage {
  std::uint32_t considered = 0;                    ///< Items that sources had to give.
  std::map<std::string, std::uint32_t> left_out{}; ///< Of them, by reason; the others are in the answer.
};

struct ranking {
  std::vector<ranked_item> items; ///< Best first.
  std::vector<std::string> degraded;
  std::vector<stage_time> stages;
  std::optional<page_shortage> shortage; ///< None: there are as many as were asked for.
};

} // namespace troupe::ranker
