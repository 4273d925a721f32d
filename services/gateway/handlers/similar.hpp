#pragma once

#include "services/gateway/handlers/ranked_answer.hpp"

namespace troupe::gateway {

/// GET /v1/items/{id}/similar. Nobody in particular sees it: no impressions, and no arm is judged by it.
class similar final : public ranked_answer {
public:
  using ranked_answer::ranked_answer;

protected:
  expected<recommend_request> parse() override;
  std::string_view arm_key() const override { return in_.one().parameters[0]; }
  wire::Kind kind() const override { return wire::Kind::similar; }
  chunk rank_message() override;
  bool personal() const override { return false; }
};

} // namespace troupe::gateway
