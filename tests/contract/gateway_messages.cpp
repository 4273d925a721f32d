#include "tests/contract/message_table.hpp"
#include "tests/contract/service_messages.hpp"

#include "schemas/gateway_generated.h"

namespace troupe::contract {

void add_gateway(std::vector<message>& all) {
  all.push_back(table<wire::InspectionQuery>(
      "inspection_query", "TRPG", [](builder& out) { return wire::CreateInspectionQueryDirect(out, "r1"); },
      [](auto& m) { return is(m.request_id(), "r1"); }));
  all.push_back(table<wire::Inspection>(
      "inspection", "TRPG", [](builder& out) { return wire::CreateInspectionDirect(out, "{}"); },
      [](auto& m) { return is(m.json(), "{}"); }));
}

} // namespace troupe::contract
