#pragma once

#include "services/gateway/call.hpp"

#include "schemas/ranker_generated.h"

/// Answers with items: what the caller, the log and the inspector are told.
namespace troupe::gateway {

struct api::given_answer {
  json::array items;
  json::array degraded; ///< Reasons; empty for a whole answer. Set before the first `show`.
  json::array stages;   ///< Of the ranker, and `features`: where the caller asked for an explanation.
  json::array features;
  chunk reply;                ///< What the ranker answered; empty for a fallback.
  std::uint64_t asked_us = 0; ///< How long it took.
  std::vector<record> impressions;
  std::vector<std::string> shown;

  /// Notes that `item` stands at the next position, and the impression where there is a user to have it.
  void show(const call& one, std::string item, double propensity);
};

json::object ranked_json(const wire::RankedItem& from, std::size_t position, bool explain);
json::array stages_json(const wire::RankReply& from);
json::array features_json(const wire::RankReply& from);

/// What the journal keeps of a request: the gateway's own part as one line of JSON, and behind it what the
/// ranker answered, as it came. Rendered when somebody asks.
std::string keep_inspection(const json::object& own, const chunk& reply);
expected<std::string> render_inspection(std::string_view kept);

} // namespace troupe::gateway
