#include "services/gateway/http/render.hpp"

#include "common/event/record.hpp"
#include "common/json/parse.hpp"
#include "common/net/payload.hpp"

#include <algorithm>
#include <cmath>

namespace troupe::gateway {

json::string text(const flatbuffers::String* from, json::storage_ptr in) {
  auto view = text_of(from);
  return json::string{view.data(), view.size(), std::move(in)};
}

json::value number(double value) {
  return std::isfinite(value) ? json::value(value) : json::value(nullptr);
}

http::response json_answer(const json::value& what) {
  return {200, "application/json", json::serialize(what)};
}

json::object ranked_json(const wire::RankedItem& from, std::size_t position, bool explain,
                         json::storage_ptr in) {
  json::object out{{{"item", text(from.item(), in)},
                    {"position", position},
                    {"title", text(from.title(), in)},
                    {"score", number(from.score())},
                    {"propensity", number(from.propensity())},
                    {"sources", texts(from.sources(), in)},
                    {"because", texts(from.because(), in)}},
                   in};
  if (!explain)
    return out;
  json::object models(in);
  if (from.models())
    for (const auto* each : *from.models())
      models[text_of(each->model())] = number(each->score());
  out["models"] = std::move(models);
  out["notes"] = texts(from.notes(), in);
  return out;
}

json::array stages_json(const wire::RankReply& from) {
  json::array out;
  if (from.stages())
    for (const auto* each : *from.stages())
      out.push_back({{"name", text(each->name())}, {"us", each->us()}, {"count", each->count()}});
  return out;
}

json::array features_json(const wire::RankReply& from) {
  static constexpr const char* states[] = {"missing", "present", "stale"};
  json::array out;
  if (from.features())
    for (const auto* each : *from.features())
      out.push_back({{"name", text(each->name())},
                     {"status", states[std::min(2, static_cast<int>(each->status()))]},
                     {"age_us", each->age_us()},
                     {"value", text(each->value())}});
  return out;
}

json::object short_page_json(const wire::RankReply& from) {
  if (!from.left_out())
    return {};
  std::vector<std::pair<std::string_view, std::size_t>> left_out;
  for (const auto* each : *from.left_out())
    left_out.emplace_back(text_of(each->reason()), each->items());
  return short_page_json(from.considered(), left_out);
}

json::object short_page_json(std::size_t considered,
                             const std::vector<std::pair<std::string_view, std::size_t>>& left_out) {
  json::object reasons;
  for (const auto& [reason, items] : left_out)
    if (items > 0)
      reasons[reason] = items;
  return {{"considered", considered}, {"left_out", std::move(reasons)}};
}

std::string keep_inspection(const json::object& own, const chunk& reply) {
  auto out = json::serialize(own);
  out += '\n';
  out += reply.text();
  return out;
}

expected<std::string> render_inspection(std::string_view kept) {
  auto end = kept.find('\n');
  auto own = parse_json(kept.substr(0, end));
  if (!own || !own->is_object())
    return fail(ec::corrupt, "what was kept of this request cannot be read");
  if (end == std::string_view::npos || end + 1 == kept.size())
    return json::serialize(*own);
  auto bytes = chunk::copy(as_bytes(kept.substr(end + 1)));
  TROUPE_TRY(reply, net::read_as<wire::RankReply>(bytes, "TRPK", "RankReply"));
  auto& out = own->get_object();
  for (auto& each : stages_json(*reply))
    out["stages"].as_array().push_back(std::move(each));
  out["features"] = features_json(*reply);
  json::array items;
  if (reply->items())
    for (const auto* each : *reply->items())
      items.push_back(ranked_json(*each, items.size() + 1, true));
  out["items"] = std::move(items);
  if (auto page = short_page_json(*reply); !page.empty())
    out["short_page"] = std::move(page);
  return json::serialize(*own);
}

} // namespace troupe::gateway
