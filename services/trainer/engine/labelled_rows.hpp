#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace troupe::trainer {

/// One feature of many rows.
struct feature_column {
  std::string name; ///< "view.feature", or `user` and `item`: the ids themselves.
  bool of_item = false;
  bool category = false;
  std::vector<float> numbers; ///< A number a row; NaN where it is missing. Empty for a category.
  std::vector<std::uint64_t> begin{
      0};                           ///< Of a category: where each row's words begin and the last one's end.
  std::vector<std::uint64_t> words; ///< hash64 of each word; a row without words is missing.
};

/// Rows with a label of 0 or 1 and what was known at their instants, in the order of time.
struct labelled_rows {
  std::vector<float> labels;
  std::vector<std::string> users, items; ///< Empty where the rows have none.
  std::vector<feature_column> columns;
  std::map<std::string, std::string> views; ///< Versions, by name.
  std::string digest;                       ///< SHA-256 of the content.

  std::uint64_t size() const noexcept { return labels.size(); }
};

} // namespace troupe::trainer
