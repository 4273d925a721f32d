#include "services/gateway/logic/fallback_list.hpp"

#include "common/json/parse.hpp"

#include <boost/json.hpp>

namespace troupe::gateway {

std::string write_fallback_list(const fallback_list& list) {
  boost::json::array out;
  for (const auto& each : list.items)
    out.push_back(boost::json::array{each.item, each.title});
  return boost::json::serialize(out);
}

expected<fallback_list> read_fallback_list(std::string_view text) {
  TROUPE_TRY(read, parse_json(text));
  fallback_list out;
  const auto* list = read.if_array();
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    const auto* pair = (*list)[i].if_array();
    if (!pair || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string())
      return fail(ec::corrupt, "entry {} of the fallback list is no item with its title", i);
    out.items.push_back({(*pair)[0].get_string().c_str(), (*pair)[1].get_string().c_str()});
  }
  if (!list)
    return fail(ec::corrupt, "the fallback list is no list");
  return out;
}

} // namespace troupe::gateway
