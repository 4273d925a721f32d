#pragma once

#include "common/core/error.hpp"
#include "common/event/record.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::ranker {

enum class test : std::uint8_t { equals, contains, at_least, at_most, one_of };

/// A statement about one attribute of an item. An attribute the item does not have satisfies none, so with
/// `negated` all.
struct condition {
  std::string attribute;
  test op = test::equals;
  bool negated = false;
  std::string text;
  double number = 0;
  text_list list;

  /// `value` is nullptr where the item has no such attribute.
  bool holds(const attribute_value* value) const;
};

struct source_share {
  std::string name; ///< nearest, item-to-item, trending, recent or popular.
  std::uint32_t n = 0;
};

enum class rule_kind : std::uint8_t { filter, boost, pin, cap };

/// What a rule does with the items its condition holds for: take them out, add to their score (`amount`, in
/// standard deviations of the scores), let in at most `most`. A pin puts `item` at `position`.
struct rule {
  rule_kind kind = rule_kind::filter;
  std::string name;
  condition when;
  double amount = 0;
  std::uint32_t most = 0;
  std::string item;
  std::uint32_t position = 0; ///< From 0.
};

/// The rules of a release: where candidates come from and what is done with them.
struct ruleset {
  std::vector<source_share> sources{
      {"nearest", 300}, {"item-to-item", 200}, {"trending", 100}, {"recent", 50}};
  bool filter_seen = true;
  std::vector<rule> rules;
  double mmr = 0; ///< 0: by score alone; 1: by difference alone.
  std::string diversity_attribute = "genres";
  double exploration = 0;           ///< The share of positions that are explored.
  std::uint32_t explore_among = 50; ///< How many items behind the answer take part.
};

/// Reads `rules.toml`. The error names origin, key and value, and what is allowed.
expected<ruleset> parse_rules(std::string_view toml, std::string_view origin);

} // namespace troupe::ranker
