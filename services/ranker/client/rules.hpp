#pragma once

#include "common/core/error.hpp"
#include "common/event/record.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::ranker {

enum class predicate_op : std::uint8_t { equals, contains, at_least, at_most, one_of };

/// A statement about one attribute of an item. An attribute the item does not have satisfies none, so with
/// `negated` all.
struct attribute_predicate {
  std::string attribute;
  predicate_op op = predicate_op::equals;
  bool negated = false;
  std::string text;
  double number = 0;
  text_list list;

  /// `value` is nullptr where the item has no such attribute.
  bool holds(const attribute_value* value) const;
};

/// Where an item of an answer comes from. The first five are sources of candidates that rules may name.
enum class candidate_source : std::uint8_t {
  nearest,      ///< Nearest neighbours of the user's vector.
  item_to_item, ///< Neighbours of the history, in the models' own tables.
  trending,     ///< Strongest trend.
  recent,       ///< Created last.
  popular,      ///< Best of the popularity model.
  request,      ///< The request names its candidates.
  attributes,   ///< Shares attributes with the item asked for.
  pinned,       ///< A rule pins it.
};
constexpr std::size_t candidate_source_count = 8;

/// As rules and answers name it: `item-to-item`.
std::string_view to_string(candidate_source source) noexcept;

struct source_share {
  candidate_source source = candidate_source::nearest;
  std::uint32_t n = 0;
};

enum class rule_kind : std::uint8_t { filter, boost, pin, cap };

/// What a rule does with the items its predicate holds for: take them out, add to their score (`amount`, in
/// standard deviations of the scores), let in at most `most`. A pin puts `item` at `position`.
struct rule {
  rule_kind kind = rule_kind::filter;
  std::string name;
  attribute_predicate when;
  double amount = 0;
  std::uint32_t most = 0;
  std::string item;
  std::uint32_t position = 0; ///< From 0.
};

/// The rules of a release: where candidates come from and what is done with them.
struct ruleset {
  std::vector<source_share> sources{{candidate_source::nearest, 300},
                                    {candidate_source::item_to_item, 200},
                                    {candidate_source::trending, 100},
                                    {candidate_source::recent, 50}};
  std::uint32_t rerank = 0; ///< Dear models score the so many best of the others alone; 0: all candidates.
  bool filter_seen = true;
  std::vector<rule> rules;
  double mmr = 0; ///< 0: by score alone; 1: by difference alone.
  std::string diversity_attribute = "genres";
  double exploration = 0;           ///< The share of positions that are explored.
  std::uint32_t explore_among = 50; ///< How many items behind the answer take part.
};

/// The attributes of items that a ranker reads whose setting `item_features` is `item_features`: what follows
/// the dot of these, and of what every ranker reads. Sorted.
std::vector<std::string> readable_attributes(const std::vector<std::string>& item_features);

/// What every ranker reads of items.
const std::vector<std::string>& basic_item_features();

/// Fails with ec::invalid_argument where nothing reads the attribute, and says which are read.
expected<void> check_readable(const std::string& attribute, const std::vector<std::string>& readable);

/// The same of every attribute that the rules name; the error says which rule.
expected<void> check_readable(const ruleset& rules, const std::vector<std::string>& readable);

/// Reads `rules.toml`. The error names origin, key and value, and what is allowed.
expected<ruleset> parse_rules(std::string_view toml, std::string_view origin);

} // namespace troupe::ranker
