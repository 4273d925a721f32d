#pragma once

#include "services/ranker/item_catalogue.hpp"

#include <string>
#include <utility>
#include <vector>

namespace troupe::ranker {

/// An item on its way into an answer.
struct candidate {
  std::string item;
  const item_card* card = nullptr; ///< nullptr where the catalogue does not have it.
  std::vector<std::string> sources;
  std::vector<std::string> because;
  std::vector<std::pair<std::string, double>> models;
  std::vector<std::string> notes;
  double score = 0;
};

} // namespace troupe::ranker
