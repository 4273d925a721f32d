#pragma once

#include "services/validator/cell.hpp"
#include "services/validator/schema.hpp"

#include <re2/re2.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace troupe::validator {

/// A field's rule with what its checks need ready. Not to be moved: its views look into its own rule.
struct compiled_field {
  field_rule rule;
  std::string_view attribute; ///< Empty for a field of the record itself.
  std::shared_ptr<const RE2> pattern;
  std::unordered_set<std::string_view> texts; ///< Into rule.one_of_texts.
  std::size_t slot = 0;
  bool declared = true; ///< False for a field that only a comparison names.
  bool shown = false;   ///< Of each item that a slate shows.
};

/// A comparison over the slots of its fields.
struct compiled_compare {
  compare_rule rule;
  std::size_t left = 0;
  std::optional<std::size_t> right; ///< Field; otherwise `constant`.
  cell constant;
  bool shown = false; ///< One side is of each item that a slate shows.
};

/// A schema in the order in which a record is read: every field that a rule or a comparison names has a slot,
/// its index in `fields` and in the cells of a record. Immutable once compiled, safe from any thread; owns
/// all that its views and constants look into.
struct compiled_schema {
  schema from;
  std::vector<std::unique_ptr<compiled_field>> fields;
  std::vector<compiled_field*> attributes; ///< Sorted by name, for one walk along the record's own.
  std::vector<compiled_compare> compares;
  std::array<int, 6>
      core; ///< Slot of id, user, item, event_time, value, request_id; -1 where no rule names it.
  std::vector<std::size_t> unique; ///< Slots.
  bool counts_nulls = false;
  bool holds_shown = false; ///< A rule is about the items of a slate.
};

/// The schema is taken as sound: its reader has checked patterns and bounds.
std::unique_ptr<compiled_schema> compile(schema from);

} // namespace troupe::validator
