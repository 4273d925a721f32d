#include "services/gateway/logic/routing_table.hpp"

#include "common/core/hash.hpp"
#include "common/event/record.hpp"
#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"

#include <cmath>

namespace troupe::gateway {

const arm* routing_table::arm_of(std::string_view user) const noexcept {
  auto at = static_cast<double>(hash64(user, hash64(salt)) >> 11) * 0x1p-53;
  double sum = 0;
  const arm* last = nullptr;
  for (const auto& each : arms) {
    if (each.weight <= 0)
      continue;
    last = &each;
    sum += each.weight;
    if (at < sum)
      return last;
  }
  return last; // Weights that add up to a little less than 1.
}

expected<routing_table> routing_table::read(chunk bytes) {
  TROUPE_TRY(from, net::read_as<wire::RoutingTable>(bytes, "TRPD", "RoutingTable"));
  routing_table out;
  out.version = from->version();
  out.salt = text_of(from->salt());
  out.shadow = text_of(from->shadow());
  out.rollout = text_of(from->rollout());
  if (from->arms())
    for (const auto* each : *from->arms()) {
      if (!std::isfinite(each->weight()) || each->weight() < 0)
        return fail(ec::corrupt, "arm {} of the routing table has weight {}", text_of(each->name()),
                    each->weight());
      out.arms.push_back(
          {std::string{text_of(each->name())}, std::string{text_of(each->release())}, each->weight()});
    }
  out.bytes = std::move(bytes);
  return out;
}

} // namespace troupe::gateway
