#include "services/gateway/answer.hpp"

#include "common/event/impression.hpp"
#include "common/json/parse.hpp"

#include <algorithm>

namespace troupe::gateway {

json::object ranked_json(const wire::RankedItem& from, std::size_t position, bool explain) {
  json::object out{{"item", text(from.item())},
                   {"position", position},
                   {"title", text(from.title())},
                   {"score", number(from.score())},
                   {"propensity", number(from.propensity())},
                   {"sources", texts(from.sources())},
                   {"because", texts(from.because())}};
  if (!explain)
    return out;
  json::object models;
  if (from.models())
    for (const auto* each : *from.models())
      models[text_of(each->model())] = number(each->score());
  out["models"] = std::move(models);
  out["notes"] = texts(from.notes());
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
  TROUPE_TRY(reply, read_as<wire::RankReply>(bytes, "TRPK", "RankReply"));
  auto& out = own->get_object();
  for (auto& each : stages_json(*reply))
    out["stages"].as_array().push_back(std::move(each));
  out["features"] = features_json(*reply);
  json::array items;
  if (reply->items())
    for (const auto* each : *reply->items())
      items.push_back(ranked_json(*each, items.size() + 1, true));
  out["items"] = std::move(items);
  return json::serialize(*own);
}

void api::given_answer::show(const call& one, std::string item, double propensity) {
  auto position = shown.size() + 1;
  if (!one.wanted.user.empty()) {
    impression seen;
    seen.request_id = one.request_id;
    seen.user = one.wanted.user;
    seen.item = item;
    seen.shown_at = wall_now();
    seen.position = static_cast<std::uint32_t>(position);
    seen.propensity = propensity;
    seen.arm = one.arm.name;
    seen.release = one.release;
    seen.routing_version = one.table->version;
    seen.degraded = !degraded.empty();
    impressions.push_back(seen.to_record());
  }
  shown.push_back(std::move(item));
}

void api::give(const call_ptr& one, given_answer made) {
  bool personal = one->to->what != operation::similar;
  bool ranked = !made.reply.empty(), expects = !made.impressions.empty(), degraded = !made.degraded.empty();
  if (degraded)
    (ranked ? lesser_ : fallbacks_).add();
  json::array own_stages{json::object{{"name", "gateway"}, {"us", one->us() - made.asked_us}, {"count", 1}}};
  if (ranked)
    own_stages.push_back({{"name", "ranker call"}, {"us", made.asked_us}, {"count", 1}});
  json::object inspection{
      {"request_id", one->request_id},
      {"at", to_rfc3339(wall_now())},
      {"route", fmt::format("{} {}", one->to->method, one->to->pattern)},
      {"trace_id", fmt::format("{:016x}{:016x}", one->trace.trace_high, one->trace.trace_low)},
      {"user", one->wanted.user},
      {"arm", one->arm.name},
      {"release", one->release},
      {"routing_version", one->table->version},
      {"rollout", one->table->rollout},
      {"gateway_us", one->us()},
      {"detail", one->detail},
      {"degraded", made.degraded},
      {"stages", std::move(own_stages)},
      {"features", json::array{}}};
  if (!personal)
    inspection["item"] = one->parameters[0];
  if (!ranked)
    inspection["items"] = made.items;
  json::object answer{{"request_id", one->request_id},
                      {"arm", one->arm.name},
                      {"release", one->release},
                      {"degraded", std::move(made.degraded)},
                      {"items", std::move(made.items)}};
  if (personal)
    answer["user"] = one->wanted.user;
  if (one->wanted.explain) {
    answer["stages"] = std::move(made.stages);
    answer["features"] = std::move(made.features);
  }
  journal_entry entry{one->request_id, std::move(made.impressions), keep_inspection(inspection, made.reply)};
  auto held = std::make_shared<json::object>(std::move(answer));
  journal_->keep(std::move(entry), [self = this, one, held, personal, ranked, degraded, expects,
                                    shown = std::move(made.shown)](bool kept) mutable {
    bool lost = !kept && expects;
    if (lost)
      held->at("degraded").as_array().push_back("impressions: the queue is full, they were dropped");
    // A caller in a hurry says nothing about the release. An answer by another release is none of this arm's.
    bool by_another = one->release != one->arm.release;
    if (personal && !one->arm.name.empty() && (ranked || !one->hurried))
      self->stats_.answered(one->arm.name, one->arm.release, one->us(), !ranked || by_another,
                            degraded || lost);
    self->finish(one, json_answer(*held));
    if (personal && ranked)
      self->shadow(one, std::move(shown));
  });
}

void api::fall_back(const call_ptr& one, const error& why) {
  given_answer made;
  made.degraded.push_back(json::string{render(why)});
  const auto& wanted = one->wanted;
  std::vector<shown_item> list;
  if (!wanted.filters.empty() || !wanted.candidates.empty())
    made.degraded.push_back("fallback: it cannot apply filters or candidates, so it shows nothing");
  else {
    {
      std::lock_guard lock{mutex_};
      list = trending_;
    }
    made.degraded.push_back(list.empty() ? "fallback: no list of trending items is known yet"
                                         : "fallback: the last known trending items");
  }
  for (auto& each : list) {
    if (made.items.size() == wanted.n)
      break;
    if (std::ranges::find(wanted.exclude, each.item) != wanted.exclude.end())
      continue;
    made.items.push_back({{"item", each.item},
                          {"position", made.items.size() + 1},
                          {"title", each.title},
                          {"score", 0.0},
                          {"propensity", 1.0},
                          {"sources", json::array{"fallback"}},
                          {"because", json::array{}}});
    made.show(*one, std::move(each.item), 1);
  }
  give(one, std::move(made));
}

} // namespace troupe::gateway
