#include "services/gateway/handlers/ranked_answer.hpp"

#include "services/gateway/gateway_deps.hpp"
#include "services/gateway/http/render.hpp"
#include "services/gateway/http/routes.hpp"

#include "common/core/hash.hpp"
#include "common/core/text_start.hpp"
#include "common/net/payload.hpp"

#include <sodium.h>

#include <algorithm>
#include <charconv>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

std::string random_request_id() {
  hash128 word;
  randombytes_buf(&word, sizeof word);
  return to_hex(word);
}

/// The sooner of `longest` and what the caller's X-Deadline-Ms leaves, less a tenth for fallback and outbox.
expected<deadline> rank_deadline(const http::request& asked, std::uint64_t spent_us,
                                 std::chrono::milliseconds longest) {
  auto until = deadline::in(longest);
  constexpr std::string_view name = "x-deadline-ms";
  if (std::ranges::none_of(asked.headers,
                           [&](const auto& each) { return http::same_name(each.first, name); }))
    return until;
  auto given = asked.header(name);
  std::uint32_t ms = 0;
  auto [end, err] = std::from_chars(given.data(), given.data() + given.size(), ms);
  if (err != std::errc{} || end != given.data() + given.size() || ms < 1 || ms > 60'000)
    return fail(ec::invalid_argument, "X-Deadline-Ms is not 1 to 60000");
  auto left = std::int64_t{ms} * 900 - static_cast<std::int64_t>(spent_us);
  return until.within(std::chrono::microseconds{std::max<std::int64_t>(0, left)});
}

/// The sentences of `degraded` for programs: what stands before the colon of each, and how much of that is
/// lacking. The first are those of the ranker, which says how much.
json::array degraded_codes(const json::array& sentences, const wire::RankReply* reply) {
  json::array out;
  const auto* lacks = reply ? reply->lacks() : nullptr;
  for (const auto& each : sentences) {
    auto at = static_cast<flatbuffers::uoffset_t>(out.size());
    const std::string_view text{each.as_string()};
    out.push_back({{"code", text.substr(0, text.find(':'))},
                   {"share", lacks && at < lacks->size() ? lacks->Get(at)->share() : 1.0}});
  }
  return out;
}

} // namespace

void ranked_answer::begin() {
  auto wanted = parse();
  if (!wanted)
    return one().reply_error(wanted.error());
  wanted_ = std::move(*wanted);
  auto longest = deps().settings->rank_timeout;
  auto until = rank_deadline(one().request, one().us(), longest);
  if (!until)
    return one().reply_error(until.error());
  hurried_ = until->at() + 10ms < deadline::in(longest).at();
  choose_arm();
  if (release_.empty())
    return fall_back({ec::unavailable, "no release is rolled out"});
  auto share = static_cast<double>(hash64(one().request_id) >> 11) * 0x1p-53;
  detail_ = wanted_.explain || (!deps().busy() && share < deps().settings->inspect_detail);
  asked_us_ = one().us();
  in_.ask(deps().behind.ranker, rank_tag, kind(), rank_message(), *until);
}

void ranked_answer::choose_arm() {
  one().request_id = random_request_id();
  table_ = deps().routing.get();
  auto key = arm_key();
  if (const auto* chosen = table_->arm_of(key.empty() ? one().request_id : key)) {
    arm_ = *chosen;
    release_ = chosen->release;
    one().arm = arm_.name;
  }
}

void ranked_answer::on_reply(std::uint64_t, const expected<net::reply>& got) {
  if (!got) {
    bool callers = got.error().code == ec::invalid_argument || got.error().code == ec::not_found;
    return callers ? one().reply_error(got.error()) : fall_back(got.error());
  }
  auto read = net::read_as<wire::RankReply>(got->payload, "TRPK", "RankReply");
  if (!read)
    return fall_back(read.error());
  const auto& reply = **read;
  asked_us_ = one().us() - asked_us_;
  made_.reply = got->payload;
  made_.degraded = texts(reply.degraded(), &memory_);
  if (auto by = text_of(reply.release()); !by.empty())
    release_ = by; // Where that of the arm was not ready, another one answered.
  if (reply.items())
    for (const auto* each : *reply.items()) {
      made_.items.push_back(ranked_json(*each, made_.items.size() + 1, wanted_.explain, &memory_));
      show(std::string{text_of(each->item())}, each->propensity());
    }
  if (!made_.items.empty() && deps().tells_shown()) {
    auto listed = std::make_shared<std::vector<fallback_item>>();
    for (const auto* each : *reply.items())
      listed->push_back({std::string{text_of(each->item())}, std::string{text_of(each->title())}});
    in_.list_shown(std::move(listed));
  }
  made_.short_page = short_page_json(reply);
  if (wanted_.explain) {
    made_.stages = stages_json(reply);
    made_.features = features_json(reply);
  }
  respond();
}

void ranked_answer::fall_back(const error& why) {
  made_.degraded.push_back(json::string{render(why)});
  if (!wanted_.filters.empty() || !wanted_.candidates.empty()) { // What is not looked at is not counted.
    made_.degraded.push_back("fallback: it cannot apply filters or candidates, so it shows nothing");
    return respond();
  }
  auto list = deps().fallback.get();
  made_.degraded.push_back(list->items.empty() ? "fallback: no list of trending items is known yet"
                                               : "fallback: the last known trending items");
  auto closed = heed_writes(*list);
  std::size_t excluded = 0, deleted = 0, hidden = 0;
  for (const auto& each : list->items) {
    if (made_.items.size() == wanted_.n)
      break;
    if (std::ranges::find(wanted_.exclude, each.item) != wanted_.exclude.end()) {
      ++excluded;
      continue;
    }
    if (auto found = closed.find(each.item); found != closed.end()) {
      ++(found->second == item_change::deleted ? deleted : hidden);
      continue;
    }
    made_.items.push_back({{"item", each.item},
                           {"position", made_.items.size() + 1},
                           {"title", each.title},
                           {"score", 0.0},
                           {"propensity", 1.0},
                           {"sources", json::array{"fallback"}},
                           {"because", json::array{}}});
    show(each.item, 1);
  }
  if (made_.items.size() < wanted_.n)
    made_.short_page = short_page_json(list->items.size(),
                                       {{"excluded", excluded}, {"deleted", deleted}, {"hidden", hidden}});
  respond();
}

std::unordered_map<std::string_view, item_change> ranked_answer::heed_writes(const fallback_list& list) {
  std::unordered_map<std::string_view, item_change> closed;
  const auto& after = one().after;
  bool seen = std::ranges::all_of(
      after.offsets, [&](const auto& place) { return list.seen.reached(place.first, place.second); });
  if (!after.about_items() || seen)
    return closed;
  bool named = !after.more_items;
  for (const auto& each : after.items) {
    named &= each.change != item_change::written;
    if (each.change != item_change::written)
      closed.emplace(each.item, each.change);
  }
  if (!named)
    made_.degraded.push_back("items_behind: the list is older than the write that this answer comes after");
  return closed;
}

void ranked_answer::show(std::string item, double propensity) {
  if (!wanted_.user.empty()) // Without a user nobody was shown it.
    made_.slate.push_back({item, static_cast<std::uint32_t>(made_.items.size()), propensity});
  made_.shown.push_back(std::move(item));
}

chunk ranked_answer::encoded_slate() {
  if (made_.slate.empty())
    return {};
  slate seen;
  seen.request_id = one().request_id;
  seen.user = wanted_.user;
  seen.shown_at = wall_now();
  seen.arm = arm_.name;
  seen.release = release_;
  seen.routing_version = table_->version;
  seen.degraded = !made_.degraded.empty();
  seen.items = made_.slate;
  auto kept = std::move(seen).to_record();
  return encode_batch(std::span{&kept, 1});
}

void ranked_answer::respond() {
  if (!made_.degraded.empty())
    (made_.reply.empty() ? deps().seen->fallback_answers : deps().seen->degraded_answers).add();
  in_.keep(encoded_slate(), deps().requests->put(one().request_id, inspection(), wall_now()));
  body_ = body(); // While the disk works.
}

std::string ranked_answer::inspection() const {
  bool ranked = !made_.reply.empty();
  auto us = in_.one().us();
  json::array stages{json::object{{"name", "gateway"}, {"us", ranked ? us - asked_us_ : us}, {"count", 1}}};
  if (ranked)
    stages.push_back({{"name", "ranker call"}, {"us", asked_us_}, {"count", 1}});
  const auto& to = *in_.one().to;
  const auto& trace = in_.one().trace;
  json::object out{{"request_id", in_.one().request_id},
                   {"at", to_rfc3339(wall_now())},
                   {"route", fmt::format("{} {}", to.method, to.pattern)},
                   {"trace_id", fmt::format("{:016x}{:016x}", trace.trace_high, trace.trace_low)},
                   {"user", wanted_.user},
                   {"arm", arm_.name},
                   {"release", release_},
                   {"routing_version", table_->version},
                   {"rollout", table_->rollout},
                   {"gateway_us", us},
                   {"detail", detail_},
                   {"degraded", made_.degraded},
                   {"stages", std::move(stages)},
                   {"features", json::array{}}};
  if (!personal())
    out["item"] = in_.one().parameters[0];
  if (!ranked) {
    out["items"] = made_.items;
    if (!made_.short_page.empty())
      out["short_page"] = made_.short_page;
  }
  return keep_inspection(out, made_.reply);
}

std::string ranked_answer::body() const {
  json::object out{{"request_id", in_.one().request_id},
                   {"arm", arm_.name},
                   {"release", release_},
                   {"degraded", made_.degraded}};
  if (!made_.degraded.empty())
    out["degraded_codes"] = degraded_codes(
        made_.degraded,
        made_.reply.empty() ? nullptr : flatbuffers::GetRoot<wire::RankReply>(made_.reply.data()));
  if (!made_.short_page.empty())
    out["short_page"] = made_.short_page;
  if (personal())
    out["user"] = wanted_.user;
  if (wanted_.explain) {
    out["stages"] = made_.stages;
    out["features"] = made_.features;
  }
  auto text = json::serialize(out);
  text.back() = ','; // The items go in as they are, not copied.
  return text + "\"items\":" + json::serialize(made_.items) + '}';
}

void ranked_answer::on_kept(bool safe) {
  if (!safe && !made_.slate.empty()) {
    made_.degraded.push_back("slate: the queue is full, that of this answer was dropped");
    body_ = body();
  }
  // A caller in a hurry says nothing about the release. An answer by another release is none of this arm's.
  bool ranked = !made_.reply.empty(), by_another = release_ != arm_.release;
  if (personal() && !arm_.name.empty() && (ranked || !hurried_))
    deps().arms.answered(arm_.name, arm_.release, one().us(), !ranked || by_another, !made_.degraded.empty());
  one().reply({200, "application/json", std::move(body_)});
  if (ranked)
    after_answer(made_.shown);
}

std::vector<flatbuffers::Offset<wire::Filter>> encode_filters(flatbuffers::FlatBufferBuilder& out,
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

flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::WrittenItem>>>
encode_written(flatbuffers::FlatBufferBuilder& out, const consistency_token& after) {
  std::vector<flatbuffers::Offset<wire::WrittenItem>> made;
  for (const auto& each : after.items)
    made.push_back(
        wire::CreateWrittenItemDirect(out, each.item.c_str(), static_cast<wire::ItemChange>(each.change)));
  return made.empty() ? 0 : out.CreateVector(made);
}

flatbuffers::Offset<flatbuffers::Vector<const wire::PartitionOffset*>>
encode_offsets(flatbuffers::FlatBufferBuilder& out, const consistency_token& after) {
  std::vector<wire::PartitionOffset> offsets;
  for (const auto& [partition, offset] : after.offsets)
    offsets.emplace_back(partition, offset);
  return offsets.empty() ? 0 : out.CreateVectorOfStructs(offsets);
}

expected<recommend_request> parse_query(const http::query_values& query) {
  recommend_request out;
  if (auto n = query.find("n")) {
    TROUPE_TRY(read, parse_n(*n));
    out.n = read;
  }
  if (auto explain = query.find("explain")) {
    out.explain = *explain == "" || *explain == "true" || *explain == "1";
    if (!out.explain && *explain != "false" && *explain != "0")
      return fail(ec::invalid_argument, "explain is '{}', not true or false", text_start(*explain, 32));
  }
  for (const auto& [name, value] : query.all())
    if (name == "exclude")
      out.exclude.push_back(value);
    else if (name == "filter") {
      TROUPE_TRY(read, parse_filter(value));
      out.filters.push_back(std::move(read));
    }
  if (out.filters.size() > 100)
    return fail(ec::invalid_argument, "there are {} filters, more than 100", out.filters.size());
  return out;
}

} // namespace troupe::gateway
