#include "services/gateway/call.hpp"

#include "common/core/hash.hpp"

#include "schemas/ranker_generated.h"

#include <algorithm>
#include <charconv>
#include <set>

/// Recommendations: ranked, or the fallback that says so.
namespace troupe::gateway {

namespace {

std::vector<flatbuffers::Offset<wire::Filter>> filters_of(FlatBufferBuilder& out,
                                                          const std::vector<filter>& from) {
  std::vector<flatbuffers::Offset<wire::Filter>> made;
  for (const auto& each : from) {
    auto attribute = out.CreateString(each.attribute), word = out.CreateString(each.text);
    auto list = out.CreateVectorOfStrings(each.list);
    made.push_back(wire::CreateFilter(out, attribute, static_cast<wire::FilterOp>(each.op), each.negated,
                                      word, each.number, list));
  }
  return made;
}

chunk rank_query(const ask& from, const arm& to, std::uint64_t seed, bool explain) {
  FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::Attribute>> context;
  for (const auto& each : from.context) {
    auto name = out.CreateString(each.name);
    double value = 0;
    flatbuffers::Offset<flatbuffers::String> word;
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> list;
    auto kind = wire::ValueKind::text;
    if (const auto* s = std::get_if<std::string>(&each.value))
      word = out.CreateString(*s);
    else if (const auto* d = std::get_if<double>(&each.value))
      kind = wire::ValueKind::number, value = *d;
    else if (const auto* b = std::get_if<bool>(&each.value))
      kind = wire::ValueKind::flag, value = *b ? 1 : 0;
    else
      kind = wire::ValueKind::list, list = out.CreateVectorOfStrings(std::get<text_list>(each.value));
    context.push_back(wire::CreateAttribute(out, name, kind, value, word, list));
  }
  auto release = out.CreateString(to.release), name = out.CreateString(to.name),
       user = out.CreateString(from.user);
  auto session = out.CreateVectorOfStrings(from.session);
  auto attributes = out.CreateVector(context);
  auto filters = out.CreateVector(filters_of(out, from.filters));
  auto exclude = out.CreateVectorOfStrings(from.exclude),
       candidates = out.CreateVectorOfStrings(from.candidates);
  wire::RankBuilder made{out};
  made.add_release(release);
  made.add_arm(name);
  made.add_user(user);
  made.add_session(session);
  made.add_context(attributes);
  made.add_filters(filters);
  made.add_exclude(exclude);
  made.add_candidates(candidates);
  made.add_n(from.n);
  made.add_explain(explain);
  made.add_seed(seed);
  out.Finish(made.Finish(), "TRPK");
  return bytes_of(out);
}

json::object item_json(const wire::RankedItem& from, std::size_t position, bool explain) {
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

} // namespace

void api::recommend(const call_ptr& one) {
  auto& wanted = one->wanted;
  if (one->to->what == operation::recommend) {
    auto read = read_ask(one->asked.body);
    if (!read)
      return refuse(one, read.error());
    wanted = std::move(*read);
  } else {
    wanted.user = one->parameters[0];
    if (auto n = one->query.find("n")) {
      auto read = read_n(*n);
      if (!read)
        return refuse(one, read.error());
      wanted.n = *read;
    }
    auto explain = one->query.find("explain");
    wanted.explain = explain && *explain != "false" && *explain != "0";
    for (const auto& [name, value] : one->query.all())
      if (name == "exclude")
        wanted.exclude.push_back(value);
  }
  one->request_id = to_hex(hash128{random_word(), random_word()});
  one->table = routing_.current();
  const auto* chosen = one->table->arm_of(wanted.user.empty() ? one->request_id : wanted.user);
  if (!chosen)
    return fall_back(one, {ec::unavailable, "no release is rolled out"});
  one->arm = *chosen;
  auto client = must_have(parts_.behind.ranker, "ranker");
  if (!client)
    return fall_back(one, client.error());
  auto seed = hash64(one->request_id);
  bool busy = in_flight_ > settings_.max_in_flight / 4 * 3; // Shed what the caller does not see, first.
  one->detail =
      wanted.explain || (!busy && static_cast<double>(seed >> 11) * 0x1p-53 < settings_.inspect_detail);
  auto until = deadline::in(settings_.rank_timeout);
  if (auto given = one->asked.header("x-deadline-ms"); !given.empty()) {
    std::uint32_t ms = 0;
    auto [end, err] = std::from_chars(given.data(), given.data() + given.size(), ms);
    if (err != std::errc{} || end != given.data() + given.size() || ms < 1 || ms > 60'000)
      return refuse(one, {ec::invalid_argument, "X-Deadline-Ms is not 1 to 60000"});
    // A tenth is kept for the fallback and the journal.
    until = until.within(std::chrono::microseconds{
        std::max<std::int64_t>(0, std::int64_t{ms} * 900 - static_cast<std::int64_t>(one->us()))});
  }
  (*client)->call_async(
      wire::Kind::rank, rank_query(wanted, one->arm, seed, one->detail), until,
      [self = shared_from_this(), one](expected<net::reply> got) { self->on_ranked(one, std::move(got)); },
      one->trace);
}

void api::on_ranked(const call_ptr& one, expected<net::reply> got) {
  if (!got)
    return got.error().code == ec::invalid_argument ? refuse(one, got.error()) : fall_back(one, got.error());
  auto read = read_as<wire::RankReply>(got->payload, "RankReply");
  if (!read)
    return fall_back(one, read.error());
  const auto& reply = **read;
  json::array items, inspected;
  journal_entry entry;
  entry.request_id = one->request_id;
  auto now = wall_now();
  bool degraded = reply.degraded() && reply.degraded()->size() > 0;
  std::vector<std::string> shown;
  if (reply.items())
    for (const auto* each : *reply.items()) {
      auto position = items.size() + 1;
      items.push_back(item_json(*each, position, one->wanted.explain));
      inspected.push_back(item_json(*each, position, true));
      shown.emplace_back(text_of(each->item()));
      if (one->wanted.user.empty())
        continue;
      record seen;
      seen.id = fmt::format("imp:{}:{}", one->request_id, position);
      seen.type = "impression";
      seen.user = one->wanted.user;
      seen.item = shown.back();
      seen.event_time = now;
      seen.request_id = one->request_id;
      seen.attributes = {{"arm", one->arm.name},
                         {"degraded", degraded},
                         {"position", static_cast<double>(position)},
                         {"propensity", each->propensity()},
                         {"release", one->arm.release}};
      entry.impressions.push_back(std::move(seen));
    }
  if (reply.items()) {
    std::lock_guard lock{mutex_};
    for (const auto* each : *reply.items())
      count_seen(text_of(each->item()), 0.01, text_of(each->title()));
  }
  json::object answer{{"request_id", one->request_id},
                      {"user", one->wanted.user},
                      {"arm", one->arm.name},
                      {"release", one->arm.release},
                      {"degraded", texts(reply.degraded())},
                      {"items", std::move(items)}};
  if (one->wanted.explain) {
    answer["stages"] = stages_json(reply);
    answer["features"] = features_json(reply);
  }
  json::object inspection{{"request_id", one->request_id},  {"at", to_rfc3339(now)},
                          {"user", one->wanted.user},       {"arm", one->arm.name},
                          {"release", one->arm.release},    {"routing_version", one->table->version},
                          {"rollout", one->table->rollout}, {"gateway_us", one->us()},
                          {"detail", one->detail},          {"degraded", texts(reply.degraded())},
                          {"stages", stages_json(reply)},   {"features", features_json(reply)},
                          {"items", std::move(inspected)}};
  entry.inspection = json::serialize(inspection);
  auto held = std::make_shared<json::object>(std::move(answer));
  bool expects = !entry.impressions.empty();
  journal_->keep(std::move(entry), [self = shared_from_this(), one, held, degraded, expects,
                                    shown](bool kept) mutable {
    if (!kept && expects)
      held->at("degraded").as_array().push_back("impressions: the queue is full, they were dropped");
    self->stats_.answered(one->arm.name, one->arm.release, one->us(), false, degraded || (!kept && expects));
    self->finish(one, json_answer(*held));
    self->shadow(one, std::move(shown));
  });
}

void api::fall_back(const call_ptr& one, const error& why) {
  json::array reasons{json::string{render(why)}};
  json::array items;
  journal_entry entry;
  entry.request_id = one->request_id;
  auto now = wall_now();
  if (!one->wanted.filters.empty() || !one->wanted.candidates.empty())
    reasons.push_back("fallback: it cannot apply filters or candidates, so it shows nothing");
  else {
    std::set<std::string_view> exclude{one->wanted.exclude.begin(), one->wanted.exclude.end()};
    std::vector<shown_item> list;
    {
      std::lock_guard lock{mutex_};
      list = trending_;
    }
    if (list.empty())
      reasons.push_back("fallback: no list of trending items is known yet");
    else
      reasons.push_back("fallback: the last known trending items");
    for (const auto& each : list) {
      if (items.size() == one->wanted.n)
        break;
      if (exclude.contains(each.item))
        continue;
      auto position = items.size() + 1;
      items.push_back({{"item", each.item},
                       {"position", position},
                       {"title", each.title},
                       {"score", 0.0},
                       {"propensity", 1.0},
                       {"sources", json::array{"fallback"}},
                       {"because", json::array{}}});
      if (one->wanted.user.empty())
        continue;
      record seen;
      seen.id = fmt::format("imp:{}:{}", one->request_id, position);
      seen.type = "impression";
      seen.user = one->wanted.user;
      seen.item = each.item;
      seen.event_time = now;
      seen.request_id = one->request_id;
      seen.attributes = {{"arm", one->arm.name},
                         {"degraded", true},
                         {"position", static_cast<double>(position)},
                         {"propensity", 1.0},
                         {"release", one->arm.release}};
      entry.impressions.push_back(std::move(seen));
    }
  }
  json::object answer{{"request_id", one->request_id}, {"user", one->wanted.user}, {"arm", one->arm.name},
                      {"release", one->arm.release},   {"degraded", reasons},      {"items", items}};
  json::object inspection = answer;
  inspection["at"] = to_rfc3339(now);
  inspection["routing_version"] = one->table->version;
  inspection["gateway_us"] = one->us();
  inspection["stages"] =
      json::array{json::object{{"name", "fallback"}, {"us", one->us()}, {"count", items.size()}}};
  inspection["features"] = json::array{};
  entry.inspection = json::serialize(inspection);
  auto held = std::make_shared<json::object>(std::move(answer));
  bool expects = !entry.impressions.empty();
  journal_->keep(std::move(entry), [self = shared_from_this(), one, held, expects](bool kept) {
    if (!kept && expects)
      held->at("degraded").as_array().push_back("impressions: the queue is full, they were dropped");
    if (!one->arm.name.empty())
      self->stats_.answered(one->arm.name, one->arm.release, one->us(), true, true);
    self->finish(one, json_answer(*held));
  });
}

void api::shadow(const call_ptr& one, std::vector<std::string> shown) {
  const auto& release = one->table->shadow;
  if (release.empty() || !parts_.behind.ranker)
    return;
  if (++shadows_ > settings_.shadow_in_flight || in_flight_ > settings_.max_in_flight / 4 * 3) {
    --shadows_;
    return;
  }
  auto began = std::chrono::steady_clock::now();
  parts_.behind.ranker->call_async(
      wire::Kind::rank, rank_query(one->wanted, {"shadow", release, 0}, hash64(one->request_id), false),
      deadline::in(settings_.rank_timeout),
      [self = shared_from_this(), release, began, shown = std::move(shown)](expected<net::reply> got) {
        --self->shadows_;
        auto reply = got ? read_as<wire::RankReply>(got->payload, "RankReply")
                         : expected<const wire::RankReply*>{unexpected<error>{got.error()}};
        if (!reply)
          return self->stats_.shadow_failed(release);
        std::vector<std::string> other;
        if ((*reply)->items())
          for (const auto* each : *(*reply)->items())
            other.emplace_back(text_of(each->item()));
        auto [overlap, correlation] = compare(shown, other);
        auto us = static_cast<std::uint64_t>((std::chrono::steady_clock::now() - began) / 1us);
        self->stats_.compared(release, us, overlap, correlation);
      },
      one->trace);
}

void api::similar_items(const call_ptr& one) {
  auto client = must_have(parts_.behind.ranker, "ranker");
  if (!client)
    return refuse(one, client.error());
  std::uint32_t n = 10;
  if (auto given = one->query.find("n")) {
    auto read = read_n(*given);
    if (!read)
      return refuse(one, read.error());
    n = *read;
  }
  one->table = routing_.current();
  one->request_id = to_hex(hash128{random_word(), random_word()});
  const auto* chosen = one->table->arm_of(one->parameters[0]);
  if (!chosen)
    return refuse(one, {ec::unavailable, "no release is rolled out"});
  one->arm = *chosen;
  std::vector<std::string> exclude;
  for (const auto& [name, value] : one->query.all())
    if (name == "exclude")
      exclude.push_back(value);
  FlatBufferBuilder out;
  auto release = out.CreateString(one->arm.release), item = out.CreateString(one->parameters[0]);
  auto without = out.CreateVectorOfStrings(exclude);
  out.Finish(wire::CreateSimilar(out, release, item, n, 0, without), "TRPK");
  (*client)->call_async(
      wire::Kind::similar, bytes_of(out), deadline::in(settings_.rank_timeout),
      [self = shared_from_this(), one](expected<net::reply> got) {
        if (!got)
          return self->refuse(one, got.error());
        auto reply = read_as<wire::RankReply>(got->payload, "RankReply");
        if (!reply)
          return self->refuse(one, reply.error());
        json::array items;
        if ((*reply)->items())
          for (const auto* each : *(*reply)->items())
            items.push_back(item_json(*each, items.size() + 1, false));
        self->finish(one, json_answer(json::object{{"request_id", one->request_id},
                                                   {"arm", one->arm.name},
                                                   {"release", one->arm.release},
                                                   {"degraded", texts((*reply)->degraded())},
                                                   {"items", std::move(items)}}));
      },
      one->trace);
}

} // namespace troupe::gateway
