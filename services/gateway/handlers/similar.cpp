#include "services/gateway/handlers/similar.hpp"

#include "services/gateway/gateway_deps.hpp"

#include "common/net/payload.hpp"

#include <algorithm>

namespace troupe::gateway {

expected<recommend_request> similar::parse() {
  TROUPE_TRY(out, parse_query(one().query));
  const auto& item = one().parameters[0];
  const auto& deleted = one().after.deleted_items;
  if (std::ranges::find(deleted, item) != deleted.end())
    return fail(ec::not_found, "there is no item of this id: it was deleted");
  out.exclude.push_back(item); // The item itself is not like itself.
  return out;
}

chunk similar::rank_message() {
  flatbuffers::FlatBufferBuilder out;
  auto release = out.CreateString(release_), item = out.CreateString(one().parameters[0]);
  auto filters = out.CreateVector(encode_filters(out, wanted_.filters));
  auto without = out.CreateVectorOfStrings(wanted_.exclude);
  out.Finish(wire::CreateSimilar(out, release, item, wanted_.n, filters, without), "TRPK");
  return net::bytes_of(out);
}

} // namespace troupe::gateway
