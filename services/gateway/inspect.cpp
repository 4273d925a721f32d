#include "services/gateway/answer.hpp"

#include "schemas/gateway_generated.h"

#include <algorithm>

namespace troupe::gateway {

namespace {

constexpr auto contract = "TRPG";

error unknown_request() {
  return {ec::not_found, "there is no request of this id, or it is too long ago"};
}

} // namespace

/// One request for which the other gateways are asked.
struct api::search {
  std::mutex mutex;
  std::size_t open = 0;
  bool answered = false;
  std::string silent; ///< Gateways that should have answered and did not.
};

expected<std::string> api::inspection(const std::string& id) const {
  TROUPE_TRY(kept, journal_->inspect(id));
  if (!kept)
    return unexpected{unknown_request()};
  return render_inspection(*kept);
}

void api::inspect_request(const call_ptr& one) {
  const auto& id = one->parameters[0];
  auto own = inspection(id);
  if (own)
    return finish(one, {200, "application/json", std::move(*own)});
  auto& others = parts_.others;
  if (own.error().code != ec::not_found || !others.client || others.client->replicas() < 2)
    return refuse(one, own.error());
  FlatBufferBuilder out;
  out.Finish(wire::CreateInspectionQueryDirect(out, id.c_str()), contract);
  auto query = bytes_of(out);
  auto of = std::make_shared<search>();
  of->open = others.client->replicas() - 1;
  for (std::uint32_t replica = 0; replica < others.client->replicas(); ++replica) {
    if (replica == others.self)
      continue;
    others.client->call_async_to(
        replica, wire::Kind::inspect, query, deadline::in(settings_.read_timeout),
        noted([this, one, of, replica](expected<net::reply> got) { on_inspected(one, *of, replica, got); }));
  }
}

void api::on_inspected(const call_ptr& one, search& of, std::uint32_t replica,
                       const expected<net::reply>& got) {
  auto read = got ? net::read_as<wire::Inspection>(got->payload, contract, "Inspection")
                  : expected<const wire::Inspection*>{unexpected{got.error()}};
  bool last = false;
  {
    std::lock_guard lock{of.mutex};
    last = --of.open == 0;
    if (of.answered)
      return;
    of.answered = read.has_value() || last;
    // A gateway that only runs under load takes what it knew with it.
    if (!read && read.error().code != ec::not_found && replica < parts_.others.steady)
      of.silent += fmt::format("{}gateway/{}: {}", of.silent.empty() ? "" : "; ", replica, read.error().text);
  }
  if (read)
    finish(one, {200, "application/json", (*read)->json()->str()});
  else if (last && of.silent.empty())
    refuse(one, unknown_request());
  else if (last)
    refuse(one, {ec::unavailable, fmt::format("this gateway does not know the request, and of those that may "
                                              "some do not answer: {}",
                                              of.silent)});
}

void api::answer_gateway(net::request asked) const {
  auto query = net::read_as<wire::InspectionQuery>(asked.payload, contract, "InspectionQuery");
  if (!query)
    return asked.respond.fail(std::move(query).error());
  auto found = inspection((*query)->request_id()->str());
  if (!found)
    return asked.respond.fail(std::move(found).error());
  FlatBufferBuilder out;
  out.Finish(wire::CreateInspectionDirect(out, found->c_str()), contract);
  asked.respond.reply(bytes_of(out));
}

} // namespace troupe::gateway
