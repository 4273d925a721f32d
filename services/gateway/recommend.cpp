#include "services/gateway/answer.hpp"

#include "common/core/hash.hpp"

#include "schemas/ranker_generated.h"

#include <algorithm>
#include <charconv>

/// Recommendations and similar items, as the ranker answers them.
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

chunk rank_query(const ask& from, const arm& to, std::uint64_t seed, bool explain,
                 const consistency_token& after) {
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
  std::vector<wire::PartitionOffset> offsets;
  for (const auto& [partition, offset] : after.offsets)
    offsets.emplace_back(partition, offset);
  auto least = offsets.empty() ? 0 : out.CreateVectorOfStructs(offsets);
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
  made.add_min_offsets(least);
  out.Finish(made.Finish(), "TRPK");
  return bytes_of(out);
}

/// The sooner of `longest` and what the caller's X-Deadline-Ms leaves, less a tenth for fallback and journal.
expected<deadline> rank_deadline(const http::request& asked, std::uint64_t spent_us,
                                 std::chrono::milliseconds longest) {
  auto until = deadline::in(longest);
  auto given = asked.header("x-deadline-ms");
  if (given.empty())
    return until;
  std::uint32_t ms = 0;
  auto [end, err] = std::from_chars(given.data(), given.data() + given.size(), ms);
  if (err != std::errc{} || end != given.data() + given.size() || ms < 1 || ms > 60'000)
    return fail(ec::invalid_argument, "X-Deadline-Ms is not 1 to 60000");
  auto left = std::int64_t{ms} * 900 - static_cast<std::int64_t>(spent_us);
  return until.within(std::chrono::microseconds{std::max<std::int64_t>(0, left)});
}

void leave_out(ask& from, const std::vector<std::string>& items) {
  from.exclude.insert(from.exclude.end(), items.begin(), items.end());
}

std::vector<std::string> all_of(const http::query_values& query, std::string_view wanted) {
  std::vector<std::string> out;
  for (const auto& [name, value] : query.all())
    if (name == wanted)
      out.push_back(value);
  return out;
}

} // namespace

expected<ask> api::read_query(const call& one) {
  ask out;
  out.user = one.parameters[0];
  if (auto n = one.query.find("n")) {
    TROUPE_TRY(read, read_n(*n));
    out.n = read;
  }
  if (auto explain = one.query.find("explain"); explain && *explain != "" && *explain != "true" &&
                                                *explain != "1" && *explain != "false" && *explain != "0")
    return fail(ec::invalid_argument, "explain is '{}', not true or false", explain->substr(0, 32));
  else
    out.explain = explain && *explain != "false" && *explain != "0";
  out.exclude = all_of(one.query, "exclude");
  return out;
}

expected<net::client*> api::choose_arm(const call_ptr& one, std::string_view key) {
  one->request_id = to_hex(hash128{random_word(), random_word()});
  one->table = routing_.current();
  const auto* chosen = one->table->arm_of(key.empty() ? one->request_id : key);
  if (!chosen)
    return fail(ec::unavailable, "no release is rolled out");
  one->arm = *chosen;
  one->release = chosen->release;
  return must_have(parts_.behind.ranker, "ranker");
}

void api::recommend(const call_ptr& one) {
  auto wanted = one->to->what == operation::recommend ? read_ask(one->asked.body) : read_query(*one);
  if (!wanted)
    return refuse(one, wanted.error());
  one->wanted = std::move(*wanted);
  leave_out(one->wanted, one->after.deleted_items);
  auto until = rank_deadline(one->asked, one->us(), settings_.rank_timeout);
  if (!until)
    return refuse(one, until.error());
  one->hurried = until->at() + 10ms < deadline::in(settings_.rank_timeout).at();
  auto client = choose_arm(one, one->wanted.user);
  if (!client)
    return fall_back(one, client.error());
  auto seed = hash64(one->request_id);
  bool busy = in_flight_ > settings_.max_in_flight / 4 * 3; // Shed what the caller does not see, first.
  one->detail =
      one->wanted.explain || (!busy && static_cast<double>(seed >> 11) * 0x1p-53 < settings_.inspect_detail);
  one->asked_us = one->us();
  (*client)->call_async(
      wire::Kind::rank, rank_query(one->wanted, one->arm, seed, one->detail, one->after), *until,
      noted([self = this, one](expected<net::reply> got) { self->on_ranked(one, std::move(got)); }),
      one->trace);
}

void api::similar_items(const call_ptr& one) {
  auto wanted = read_query(*one);
  if (!wanted)
    return refuse(one, wanted.error());
  one->wanted = std::move(*wanted);
  const auto& deleted = one->after.deleted_items;
  if (std::ranges::find(deleted, one->parameters[0]) != deleted.end())
    return refuse(one, {ec::not_found, "there is no item of this id: it was deleted"});
  leave_out(one->wanted, one->after.deleted_items);
  one->wanted.exclude.push_back(std::exchange(one->wanted.user, {})); // The item itself is not like itself.
  auto until = rank_deadline(one->asked, one->us(), settings_.rank_timeout);
  if (!until)
    return refuse(one, until.error());
  auto client = choose_arm(one, one->parameters[0]);
  if (!client)
    return fall_back(one, client.error());
  FlatBufferBuilder out;
  auto release = out.CreateString(one->arm.release), item = out.CreateString(one->parameters[0]);
  auto without = out.CreateVectorOfStrings(one->wanted.exclude);
  out.Finish(wire::CreateSimilar(out, release, item, one->wanted.n, 0, without), "TRPK");
  one->asked_us = one->us();
  (*client)->call_async(
      wire::Kind::similar, bytes_of(out), *until,
      noted([self = this, one](expected<net::reply> got) { self->on_ranked(one, std::move(got)); }),
      one->trace);
}

void api::on_ranked(const call_ptr& one, expected<net::reply> got) {
  if (!got)
    return got.error().code == ec::invalid_argument || got.error().code == ec::not_found
               ? refuse(one, got.error())
               : fall_back(one, got.error());
  auto read = read_as<wire::RankReply>(got->payload, "TRPK", "RankReply");
  if (!read)
    return fall_back(one, read.error());
  const auto& reply = **read;
  given_answer made;
  made.asked_us = one->us() - one->asked_us;
  made.reply = got->payload;
  made.degraded = texts(reply.degraded());
  if (auto by = text_of(reply.release()); !by.empty())
    one->release = by; // Where that of the arm was not ready, another one answered.
  if (reply.items())
    for (const auto* each : *reply.items()) {
      auto position = made.items.size() + 1;
      made.items.push_back(ranked_json(*each, position, one->wanted.explain));
      made.show(*one, std::string{text_of(each->item())}, each->propensity());
    }
  if (one->wanted.explain) {
    made.stages = stages_json(reply);
    made.features = features_json(reply);
  }
  if (reply.items()) {
    std::lock_guard lock{mutex_};
    for (const auto* each : *reply.items())
      count_seen(text_of(each->item()), 0.01, text_of(each->title()));
  }
  give(one, std::move(made));
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
      wire::Kind::rank,
      rank_query(one->wanted, {"shadow", release, 0}, hash64(one->request_id), false, one->after),
      deadline::in(settings_.rank_timeout),
      noted([self = this, release, began, shown = std::move(shown)](expected<net::reply> got) {
        --self->shadows_;
        auto reply = got ? read_as<wire::RankReply>(got->payload, "TRPK", "RankReply")
                         : expected<const wire::RankReply*>{unexpected<error>{got.error()}};
        // Where the release was not ready another one answered, perhaps the very one it is compared with.
        if (!reply || text_of((*reply)->release()) != release)
          return self->stats_.shadow_failed(release);
        std::vector<std::string> other;
        if ((*reply)->items())
          for (const auto* each : *(*reply)->items())
            other.emplace_back(text_of(each->item()));
        auto [overlap, correlation] = compare(shown, other);
        auto us = static_cast<std::uint64_t>((std::chrono::steady_clock::now() - began) / 1us);
        self->stats_.compared(release, us, overlap, correlation);
      }),
      one->trace);
}

} // namespace troupe::gateway
