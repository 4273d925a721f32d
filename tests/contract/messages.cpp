#include "tests/contract/messages.hpp"

#include "tests/contract/message_table.hpp"
#include "tests/contract/service_messages.hpp"

#include "common/net/envelope.hpp"

#include "schemas/status_generated.h"

namespace troupe::contract {

namespace {

void add_envelopes(std::vector<message>& all) {
  net::envelope request;
  request.kind = wire::Kind::read_features;
  request.request_id = {0x0123456789abcdef, 42};
  request.trace = {1, 2, 3, 1};
  request.time_left = std::chrono::milliseconds{250};
  request.caller = "ranker/1";
  net::envelope refusal;
  refusal.kind = wire::Kind::append;
  refusal.reply = true;
  refusal.request_id = {7, 8};
  refusal.caller = "ingest/0";
  refusal.failure = error{ec::overloaded, "busy"};
  refusal.retry_after = std::chrono::milliseconds{50};
  for (auto& [name, head] : {std::pair{"envelope_request", request}, std::pair{"envelope_refusal", refusal}})
    all.push_back({std::string{name} + ".v1.bin", [head = head] { return net::encode(head); },
                   [head = head](byte_view bytes) { return net::decode_envelope(bytes) == head; }});
}

void add_status(std::vector<message>& all) {
  all.push_back(table<wire::StatusReply>(
      "status_reply", "TRPS",
      [](builder& out) {
        std::vector gauges{wire::CreateGaugeDirect(out, "lag", 2.5)};
        return wire::CreateStatusReplyDirect(out, "ingest", 1, true, "ready", "disk", at, 99, &gauges);
      },
      [](auto& m) {
        return is(m.service(), "ingest") && m.replica() == 1 && m.ready() && is(m.state(), "ready") &&
               is(m.last_error(), "disk") && m.last_error_at() == at && m.uptime_us() == 99 &&
               is(m.gauges()->Get(0)->name(), "lag") && m.gauges()->Get(0)->value() == 2.5;
      }));
}

} // namespace

std::vector<message> released_messages() {
  std::vector<message> all;
  add_envelopes(all);
  add_ingest(all);
  add_validator(all);
  add_feature_store(all);
  add_feature_scan(all);
  add_feature_changes(all);
  add_kept_training(all);
  add_ranker(all);
  add_trainer(all);
  add_gateway(all);
  add_status(all);
  add_registry_runs(all);
  add_registry_models(all);
  add_deployer(all);
  return all;
}

} // namespace troupe::contract
