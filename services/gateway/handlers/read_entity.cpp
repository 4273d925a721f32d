#include "services/gateway/handlers/read_entity.hpp"

#include "services/feature_store/client/feature_client.hpp"
#include "services/gateway/gateway_deps.hpp"
#include "services/gateway/http/render.hpp"

#include "common/core/hash.hpp"

#include <algorithm>

namespace troupe::gateway {

void read_entity::begin() {
  const auto& features = deps().behind.features;
  const auto& id = one().parameters[0];
  feature_store::feature_query query;
  query.entity = entity_;
  query.ids = {id};
  query.features = {fmt::format("{}_record.attributes", entity_)};
  for (const auto& [partition, offset] : one().after.offsets)
    query.min_offsets.emplace_back(partition, offset);
  in_.ask(features, 0, wire::Kind::read_features, feature_store::encode(query),
          deadline::in(deps().settings->read_timeout), rendezvous(id, std::max(1u, features.replicas())));
}

void read_entity::on_reply(std::uint64_t, const expected<net::reply>& got) {
  auto answer = got ? feature_store::decode_features(got->payload, 1)
                    : expected<feature_store::feature_answer>{unexpected<error>{got.error()}};
  if (!answer)
    return one().reply_error(answer.error());
  if (answer->columns.size() != 1 || answer->columns[0].texts.size() != 1)
    return one().reply_error({ec::corrupt, "the feature store answers with another column"});
  const auto& column = answer->columns[0];
  if (answer->deleted[0] || column.status[0] != wire::FeatureStatus::present)
    return one().reply_error({ec::not_found, fmt::format("there is no {} of this id{}", entity_,
                                                         answer->deleted[0] ? ": it was deleted" : "")});
  boost::system::error_code bad;
  auto attributes = json::parse(column.texts[0], bad);
  if (bad)
    return one().reply_error({ec::corrupt, "the attributes of the record are no JSON"});
  one().reply(json_answer(json::object{
      {"id", one().parameters[0]}, {"attributes", std::move(attributes)}, {"age_us", column.age_us[0]}}));
}

} // namespace troupe::gateway
