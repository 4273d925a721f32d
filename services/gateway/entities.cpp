#include "services/gateway/call.hpp"

#include "common/core/hash.hpp"
#include "common/event/impression.hpp"

#include "schemas/feature_store_generated.h"
#include "schemas/ingest_generated.h"

/// Events, items and users: written to the log, read from the feature store.
namespace troupe::gateway {

void api::note_row(const record& added) {
  std::lock_guard lock{mutex_};
  if (added.kind == record_kind::event && added.type != impression_type)
    count_seen(added.item, 1, {});
  else if (added.kind == record_kind::item)
    for (const auto& each : added.attributes)
      if ((each.name == "deleted" || each.name == "hidden") && each.value == attribute_value{true}) {
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
      log_offsets places;
      for (const auto* place : *reply->offsets())
        places.emplace_back(place->partition(), place->offset());
      one->token = write_token(places);
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

std::vector<std::string> api::features_of(const std::string& entity) {
  std::lock_guard lock{mutex_};
  return attributes_[entity];
}

void api::read_entity_of(const call_ptr& one, const char* entity) {
  auto client = must_have(parts_.behind.features, "feature-store");
  if (!client)
    return refuse(one, client.error());
  auto names = features_of(entity);
  if (names.empty())
    return refuse(
        one, {ec::unavailable, fmt::format("the views with attributes of {}s are not known yet", entity)});
  FlatBufferBuilder out;
  auto kind = out.CreateString(entity);
  auto ids = out.CreateVectorOfStrings({one->parameters[0]});
  auto features = out.CreateVectorOfStrings(names);
  std::vector<wire::PartitionOffset> offsets;
  for (const auto& [partition, offset] : one->after)
    offsets.emplace_back(partition, offset);
  auto least = out.CreateVectorOfStructs(offsets);
  out.Finish(wire::CreateReadFeatures(out, kind, ids, features, 0, least), "TRPF");
  auto replica = rendezvous(one->parameters[0], std::max(1u, (*client)->replicas()));
  (*client)->call_async_to(
      replica, wire::Kind::read_features, bytes_of(out), deadline::in(settings_.read_timeout),
      noted([self = this, one, entity](expected<net::reply> got) {
        if (!got)
          return self->refuse(one, got.error());
        auto reply = read_as<wire::Features>(got->payload, "TRPF", "Features");
        if (!reply)
          return self->refuse(one, reply.error());
        json::object attributes, ages;
        bool known = false, deleted = false;
        if ((*reply)->columns())
          for (const auto* each : *(*reply)->columns()) {
            if (!each->status() || each->status()->size() != 1 ||
                each->status()->Get(0) == wire::FeatureStatus::missing)
              continue;
            known = true;
            std::string name{text_of(each->name())};
            name = name.substr(name.find('.') + 1);
            json::value value;
            if (each->texts() && each->texts()->size() == 1)
              value = text(each->texts()->Get(0));
            else if (each->lists() && each->lists()->size() == 1)
              value = texts(each->lists()->Get(0)->items());
            else if (each->numbers() && each->numbers()->size() == 1)
              value = number(each->numbers()->Get(0));
            if (name == "deleted") {
              deleted = (value.is_double() && value.get_double() != 0) || value == "true" || value == "1";
              continue;
            }
            if (each->age_us() && each->age_us()->size() == 1)
              ages[name] = each->age_us()->Get(0);
            attributes[name] = std::move(value);
          }
        if (!known || deleted)
          return self->refuse(one, {ec::not_found, fmt::format("there is no {} of this id{}", entity,
                                                               deleted ? ": it was deleted" : "")});
        self->finish(one, json_answer(json::object{{"id", one->parameters[0]},
                                                   {"attributes", std::move(attributes)},
                                                   {"ages_us", std::move(ages)}}));
      }),
      one->trace);
}

} // namespace troupe::gateway
