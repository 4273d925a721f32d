#include "services/gateway/handlers/inspect.hpp"

#include "services/gateway/gateway_deps.hpp"

#include "common/net/payload.hpp"

#include "schemas/gateway_generated.h"

namespace troupe::gateway {

namespace {

constexpr auto contract = "TRPG";

} // namespace

void inspect::begin() {
  const auto& id = one().parameters[0];
  auto own = deps().inspection(id);
  if (own)
    return one().reply({200, "application/json", std::move(*own)});
  const auto& peers = deps().options.peers;
  if (own.error().code != ec::not_found || peers.gateways.replicas() < 2)
    return one().reply_error(own.error());
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateInspectionQueryDirect(out, id.c_str()), contract);
  auto query = net::bytes_of(out);
  open_ = peers.gateways.replicas() - 1;
  for (std::uint32_t replica = 0; replica < peers.gateways.replicas(); ++replica)
    if (replica != peers.self)
      in_.ask(peers.gateways, replica, wire::Kind::inspect, query,
              deadline::in(deps().settings->read_timeout), replica);
}

void inspect::on_reply(std::uint64_t replica, const expected<net::reply>& got) {
  --open_;
  if (one().answered())
    return;
  auto read = got ? net::read_as<wire::Inspection>(got->payload, contract, "Inspection")
                  : expected<const wire::Inspection*>{unexpected{got.error()}};
  if (read)
    return one().reply({200, "application/json", (*read)->json()->str()});
  // A gateway that only runs under load takes what it knew with it.
  if (read.error().code != ec::not_found && replica < deps().options.peers.steady)
    silent_ += fmt::format("{}gateway/{}: {}", silent_.empty() ? "" : "; ", replica, read.error().text);
  if (open_ > 0)
    return;
  if (silent_.empty())
    one().reply_error({ec::not_found, "there is no request of this id, or it is too long ago"});
  else
    one().reply_error(
        {ec::unavailable, fmt::format("this gateway does not know the request, and of those that may some do "
                                      "not answer: {}",
                                      silent_)});
}

void answer_inspection(const gateway_deps& deps, net::request asked) {
  auto query = net::read_as<wire::InspectionQuery>(asked.payload, contract, "InspectionQuery");
  if (!query)
    return asked.respond.fail(std::move(query).error());
  auto found = deps.inspection((*query)->request_id()->str());
  if (!found)
    return asked.respond.fail(std::move(found).error());
  flatbuffers::FlatBufferBuilder out;
  out.Finish(wire::CreateInspectionDirect(out, found->c_str()), contract);
  asked.respond.reply(net::bytes_of(out));
}

} // namespace troupe::gateway
