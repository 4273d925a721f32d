#pragma once

#include "common/catalog/catalog.hpp"
#include "common/core/error.hpp"

#include <string>
#include <string_view>

/// What `troupe releases build` is told, read and checked before anything is sent.
namespace troupe::cli {

/// One model of a release.
struct release_model {
  std::string model; ///< NAME or NAME:VERSION.
  double weight = 1;
  std::string role = "both"; ///< retrieval: it gives candidates; score: it scores them; both.
};

/// Reads NAME[:VERSION][=WEIGHT[:ROLE]]: `ease:3=0.7`, `two_tower=1:retrieval`.
expected<release_model> parse_release_model(const std::string& text);

/// The rules of a release can be read and name only attributes of items that the ranker of this catalog
/// reads. `origin` is for messages.
expected<void> check_release_rules(std::string_view rules, std::string_view origin, const catalog& fleet);

} // namespace troupe::cli
