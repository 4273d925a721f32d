#include "services/gateway/store/gateway_state.hpp"

namespace troupe::gateway {

expected<std::optional<std::string>> gateway_state::get_state(std::string_view name) const {
  return db_->find(state, name);
}

expected<void>
gateway_state::put_state(std::initializer_list<std::pair<std::string_view, std::string_view>> values) {
  store::write_batch batch;
  for (const auto& [name, value] : values)
    batch.put(state, name, value);
  return db_->write(batch, store::durability::buffered);
}

} // namespace troupe::gateway
