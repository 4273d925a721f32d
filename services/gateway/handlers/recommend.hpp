#pragma once

#include "services/gateway/handlers/ranked_answer.hpp"

#include <chrono>

namespace troupe::gateway {

/// Items for a user or a session. Where the routing table has a shadow release, that one is asked too after
/// the answer, and what it would have shown is compared: `shadow_in_flight` at a time.
class recommend : public ranked_answer {
public:
  using ranked_answer::ranked_answer;
  ~recommend() override;

  void on_reply(std::uint64_t tag, const expected<net::reply>& got) override;

protected:
  std::string_view arm_key() const override { return wanted_.user; }
  wire::Kind kind() const override { return wire::Kind::rank; }
  chunk rank_message() override;
  bool personal() const override { return true; }
  void after_answer(const std::vector<std::string>& shown) override;

private:
  void on_shadow_reply(const expected<net::reply>& got);

  std::vector<std::string> shown_;
  bool shadowing_ = false;
  std::chrono::steady_clock::time_point shadow_began_;
};

/// GET /v1/users/{id}/recommendations.
class recommend_user final : public recommend {
public:
  using recommend::recommend;

protected:
  expected<recommend_request> parse() override;
};

/// POST /v1/recommendations.
class recommend_body final : public recommend {
public:
  using recommend::recommend;

protected:
  expected<recommend_request> parse() override { return parse_recommend_request(one().request.body); }
};

} // namespace troupe::gateway
