#pragma once

#include "common/core/bytes.hpp"
#include "common/core/error.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::gateway {

struct arm {
  std::string name;
  std::string release;
  double weight = 0;
};

/// What the deployer says about who is answered by what. Immutable; share it.
struct routing_table {
  std::uint64_t version = 0;
  std::vector<arm> arms;
  std::string salt;
  std::string shadow;
  std::string rollout;
  chunk bytes; ///< As it came, to be kept on disk.

  /// The arm of a user: the first whose cumulative weight exceeds hash(salt, user) in [0, 1). nullptr: no
  /// arms.
  const arm* arm_of(std::string_view user) const noexcept;

  /// Verifies and reads a wire::RoutingTable.
  static expected<routing_table> read(chunk bytes);
};

using routing_ptr = std::shared_ptr<const routing_table>;

} // namespace troupe::gateway
