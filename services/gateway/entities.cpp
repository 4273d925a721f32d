#include "services/feature_store/client/feature_client.hpp"
#include "services/gateway/call.hpp"

#include "common/core/hash.hpp"
#include "common/event/impression.hpp"

#include "schemas/ingest_generated.h"

#include <algorithm>

/// Events, items and users: written to the log, read from the feature store.
namespace troupe::gateway {

namespace {

bool has_flag(const record& rec, std::string_view name) {
  return std::ranges::any_of(rec.attributes, [&](const attribute& each) {
    return each.name == name && each.value == attribute_value{true};
  });
}

bool deletes_item(const record& rec) {
  return rec.kind == record_kind::item && has_flag(rec, "deleted");
}

} // namespace

void api::note_row(const record& added) {
  std::lock_guard lock{mutex_};
  if (added.kind == record_kind::event && added.type != impression_type)
    count_seen(added.item, 1, {});
  else if (deletes_item(added) || (added.kind == record_kind::item && has_flag(added, "hidden"))) {
    seen_.erase(added.item);
    std::erase_if(trending_, [&](const shown_item& other) { return other.item == added.item; });
  }
}

void api::count_seen(std::string_view item, double times, std::string_view title) {
  auto& count = seen_[std::string{item}];
  count.first += times;
  if (!title.empty())
    count.second = title;
  if (seen_.size() <= 20'000)
    return;
  for (auto at = seen_.begin(); at != seen_.end();)
    at = (at->second.first /= 2) < 1 ? seen_.erase(at) : std::next(at);
}

void api::write_rows(const call_ptr& one, std::vector<row> rows) {
  auto client = must_have(parts_.behind.ingest, "ingest");
  if (!client)
    return refuse(one, client.error());
  std::vector<record> good;
  for (auto& each : rows) {
    if (!each.refused.empty())
      continue;
    if (!each.timed && each.named)
      each.what.event_time = journal_->first_time(each.what.id, each.what.event_time);
    good.push_back(each.what);
  }
  auto held = std::make_shared<std::vector<row>>(std::move(rows));
  bool single = !one->parameters.empty(); // One entity by its address.
  auto answer = [this, one, held, single](const wire::AppendReply* reply) {
    if (reply && reply->offsets()) {
      consistency_token seen;
      for (const auto* place : *reply->offsets())
        seen.offsets.emplace_back(place->partition(), place->offset());
      for (const auto& each : *held)
        if (each.refused.empty() && deletes_item(each.what))
          seen.deleted_items.push_back(each.what.item);
      one->token = write_token(seen);
    }
    json::array out;
    std::uint64_t counts[4] = {};
    std::uint32_t at = 0;
    static constexpr const char* names[] = {"added", "duplicate", "quarantined", "invalid"};
    for (std::size_t i = 0; i < held->size(); ++i) {
      auto& each = (*held)[i];
      std::size_t what = 3;
      json::object line{{"row", i}, {"id", each.what.id}};
      if (each.refused.empty()) {
        const auto* verdict = reply->rows()->Get(at++);
        what = std::min<std::size_t>(2, static_cast<std::size_t>(verdict->outcome()));
        if (what == 2) {
          line["rule"] = text(verdict->rule());
          line["reason"] = text(verdict->reason());
        }
      } else {
        line["rule"] = "row";
        line["reason"] = each.refused;
      }
      line["outcome"] = names[what];
      if (what == 0)
        note_row(each.what);
      ++counts[what];
      out.push_back(std::move(line));
    }
    if (single && counts[2] > 0)
      return finish(one,
                    http::problem(422, "invalid_argument", json::value_to<std::string>(out[0].at("reason"))));
    finish(one, json_answer(json::object{{"added", counts[0]},
                                         {"duplicate", counts[1]},
                                         {"refused", counts[2] + counts[3]},
                                         {"token", one->token},
                                         {"rows", std::move(out)}}));
  };
  if (good.empty())
    return answer(nullptr);
  FlatBufferBuilder out;
  auto bytes = encode_batch(std::span<const record>{good});
  auto source = out.CreateString("http");
  auto batch = out.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  out.Finish(wire::CreateAppend(out, source, batch), "TRPI");
  auto count = good.size();
  (*client)->call_async(
      wire::Kind::append, bytes_of(out), deadline::in(settings_.write_timeout),
      noted([self = this, one, answer, count](expected<net::reply> got) {
        if (!got)
          return self->refuse(one, got.error());
        auto reply = read_as<wire::AppendReply>(got->payload, "TRPI", "AppendReply");
        if (!reply)
          return self->refuse(one, reply.error());
        if (!(*reply)->rows() || (*reply)->rows()->size() != count)
          return self->refuse(one, {ec::corrupt, "ingest answered with another number of rows"});
        answer(*reply);
      }),
      one->trace);
}

void api::read_entity_of(const call_ptr& one, const char* entity) {
  auto client = must_have(parts_.behind.features, "feature-store");
  if (!client)
    return refuse(one, client.error());
  feature_store::feature_query query;
  query.entity = entity;
  query.ids = {one->parameters[0]};
  query.features = {fmt::format("{}_record.attributes", entity)};
  for (const auto& [partition, offset] : one->after.offsets)
    query.min_offsets.emplace_back(partition, offset);
  auto replica = rendezvous(one->parameters[0], std::max(1u, (*client)->replicas()));
  (*client)->call_async_to(
      replica, wire::Kind::read_features, feature_store::encode(query), deadline::in(settings_.read_timeout),
      noted([self = this, one, entity](expected<net::reply> got) {
        if (!got)
          return self->refuse(one, got.error());
        auto answer = feature_store::decode_features(got->payload, 1);
        if (!answer)
          return self->refuse(one, answer.error());
        if (answer->columns.size() != 1 || answer->columns[0].texts.size() != 1)
          return self->refuse(one, {ec::corrupt, "the feature store answers with another column"});
        auto& column = answer->columns[0];
        if (answer->deleted[0] || column.status[0] != wire::FeatureStatus::present)
          return self->refuse(one,
                              {ec::not_found, fmt::format("there is no {} of this id{}", entity,
                                                          answer->deleted[0] ? ": it was deleted" : "")});
        boost::system::error_code bad;
        auto attributes = json::parse(column.texts[0], bad);
        if (bad)
          return self->refuse(one, {ec::corrupt, "the attributes of the record are no JSON"});
        self->finish(one, json_answer(json::object{{"id", one->parameters[0]},
                                                   {"attributes", std::move(attributes)},
                                                   {"age_us", column.age_us[0]}}));
      }),
      one->trace);
}

} // namespace troupe::gateway
