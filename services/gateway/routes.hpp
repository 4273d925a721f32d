#pragma once

#include "common/security/api_keys.hpp"

#include <cstdint>
#include <span>
#include <string>

namespace troupe::gateway {

enum class operation : std::uint8_t {
  live,
  ready,
  metrics,
  openapi,
  events,
  put_item,
  get_item,
  delete_item,
  items,
  put_user,
  get_user,
  delete_user,
  users,
  recommend_user,
  recommend,
  similar,
  inspect,
  runs,
  run,
  models,
  model,
  releases,
  release,
  rollouts,
  rollout,
  promote,
  abort,
};

struct route {
  operation what;
  const char* method;
  const char* pattern;
  std::uint8_t scope; ///< 0: anybody.
  const char* summary;
  const char* parameters; ///< Of the query: names parted by blanks; a name ending in [] may repeat.
  const char* body;       ///< Schema of the body; nullptr: none.
  const char* answer;     ///< Schema of the answer.
};

/// Every route the gateway has: it serves these, and describes these.
std::span<const route> routes() noexcept;

/// The OpenAPI 3.1 document of them.
std::string openapi();

} // namespace troupe::gateway
