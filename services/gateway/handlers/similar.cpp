#include "services/gateway/handlers/similar.hpp"

#include "services/gateway/gateway_deps.hpp"

#include "common/net/payload.hpp"

namespace troupe::gateway {

expected<recommend_request> similar::parse() {
  TROUPE_TRY(out, parse_query(one().query));
  out.exclude.push_back(one().parameters[0]); // The item itself is not like itself.
  return out;
}

chunk similar::rank_message() {
  flatbuffers::FlatBufferBuilder out;
  auto release = out.CreateString(release_), item = out.CreateString(one().parameters[0]);
  auto filters = out.CreateVector(encode_filters(out, wanted_.filters));
  auto without = out.CreateVectorOfStrings(wanted_.exclude);
  auto least = encode_offsets(out, one().after);
  auto written = encode_written(out, one().after);
  out.Finish(wire::CreateSimilar(out, release, item, wanted_.n, filters, without, least, written,
                                 one().after.more_items),
             "TRPK");
  return net::bytes_of(out);
}

} // namespace troupe::gateway
