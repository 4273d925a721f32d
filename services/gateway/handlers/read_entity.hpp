#pragma once

#include "services/gateway/handlers/handler.hpp"

namespace troupe::gateway {

/// The attributes of one item or user: all of its newest record.
class read_entity final : public handler {
public:
  read_entity(request_context& in, record_kind kind) : handler{in}, entity_{to_string(kind)} {}

  void begin() override;
  void on_reply(std::uint64_t tag, const expected<net::reply>& got) override;

private:
  std::string entity_;
};

} // namespace troupe::gateway
