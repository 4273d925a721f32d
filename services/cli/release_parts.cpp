#include "services/cli/release_parts.hpp"

#include "services/ranker/client/rules.hpp"

#include <charconv>
#include <variant>
#include <vector>

namespace troupe::cli {

expected<release_model> parse_release_model(const std::string& text) {
  auto equals = text.find('=');
  release_model made;
  made.model = text.substr(0, equals);
  if (equals == text.npos)
    return made;
  auto* end = text.data() + text.size();
  auto [rest, failed] = std::from_chars(text.data() + equals + 1, end, made.weight);
  if (failed != std::errc{} || (rest != end && *rest != ':') || !(made.weight > 0))
    return fail(ec::invalid_argument, "'{}': the weight of a model is a number above 0", text);
  if (rest == end)
    return made;
  made.role.assign(rest + 1, end);
  if (made.role != "retrieval" && made.role != "score" && made.role != "both")
    return fail(ec::invalid_argument, "'{}': the role of a model is retrieval, score or both", text);
  return made;
}

expected<void> check_release_rules(std::string_view rules, std::string_view origin, const catalog& fleet) {
  TROUPE_TRY(parsed, ranker::parse_rules(rules, origin));
  std::vector<std::string> item_features;
  if (auto entry = fleet.find("ranker")) {
    auto& settings = (*entry)->settings.values;
    if (auto found = settings.find("item_features"); found != settings.end())
      if (auto* names = std::get_if<std::vector<std::string>>(&found->second))
        item_features = *names;
  }
  return ranker::check_readable(parsed, ranker::readable_attributes(item_features));
}

} // namespace troupe::cli
