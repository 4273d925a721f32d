#pragma once

#include "services/gateway/store/state_database.hpp"

#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

namespace troupe::gateway {

/// Small values that outlive a restart: the routing table, the fallback list, the report under way. Any
/// thread; blocks for a look into memory or a buffered write.
class gateway_state {
public:
  explicit gateway_state(std::shared_ptr<store::database> in) : db_{std::move(in)} {}

  expected<std::optional<std::string>> get_state(std::string_view name) const;

  /// All of them or none.
  expected<void> put_state(std::initializer_list<std::pair<std::string_view, std::string_view>> values);

private:
  std::shared_ptr<store::database> db_;
};

} // namespace troupe::gateway
