#pragma once

#include "services/gateway/handlers/handler.hpp"

#include "common/net/request.hpp"

#include <string>

namespace troupe::gateway {

/// GET /v1/requests/{id}: what this gateway keeps of a request; else what one of the others does, which are
/// asked all at once. The tag of a question is the replica that was asked.
class inspect final : public handler {
public:
  using handler::handler;

  void begin() override;
  void on_reply(std::uint64_t tag, const expected<net::reply>& got) override;

private:
  std::size_t open_ = 0;
  std::string silent_; ///< Gateways that should have answered and did not.
};

/// Answers `inspect` of another gateway: a look into memory, or one read.
void answer_inspection(const gateway_deps& deps, net::request asked);

} // namespace troupe::gateway
