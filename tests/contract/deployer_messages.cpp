#include "tests/contract/message_table.hpp"
#include "tests/contract/service_messages.hpp"

#include "schemas/deployer_generated.h"

namespace troupe::contract {

namespace {

void fill_rollout(wire::RolloutT& to) {
  to.rollout_id = "r1";
  to.strategy = "canary";
  to.release = std::string(64, 'a');
  to.from_release = std::string(64, 'b');
  to.state = wire::RolloutState::paused;
  to.step = 2;
  to.steps = 4;
  to.weight = 0.25;
  to.reason = "why";
  to.spec = "release = \"spring\"";
  to.started = at;
  to.ended = at + 1;
  auto line = std::make_unique<wire::DecisionT>();
  line->at = at;
  line->step = 2;
  line->metric = "p99_us";
  line->arm = "canary";
  line->against = "production";
  line->window_us = 3;
  line->value = 4.5;
  line->bound = 5.5;
  line->n = 6;
  line->verdict = wire::Verdict3::fail;
  line->action = "roll back";
  line->reason = "slow";
  to.decisions.push_back(std::move(line));
  to.weights = {0.05, 0.25};
  to.replicas = 3;
  to.holding = 2;
  to.aliased = true;
  to.running_since = at + 2;
  to.entered = at + 3;
}

} // namespace

void add_deployer(std::vector<message>& all) {
  constexpr auto id = "TRPD";
  auto add = [&]<class Table>(std::string name, auto fill) {
    all.push_back(value_table<Table>(std::move(name), fill, id));
  };
  add.operator()<wire::RoutingQuery>("routing_query", [](auto& to) {
    to.known_version = 7;
    to.wait_us = 8;
  });
  add.operator()<wire::RoutingTable>("routing_table", [](auto& to) {
    to.version = 9;
    auto arm = std::make_unique<wire::ArmT>();
    arm->name = "canary";
    arm->release = std::string(64, 'a');
    arm->weight = 0.25;
    to.arms.push_back(std::move(arm));
    to.salt = "s";
    to.shadow = std::string(64, 'c');
    to.rollout = "r1";
    to.keep = {std::string(64, 'a'), std::string(64, 'b')};
  });
  add.operator()<wire::RolloutStart>("rollout_start", [](auto& to) {
    to.rollout_id = "r1";
    to.spec = "release = \"spring\"";
  });
  add.operator()<wire::Rollout>("rollout", fill_rollout);
  add.operator()<wire::Rollout>("rollout_arms", [](auto& to) {
    fill_rollout(to);
    auto arm = std::make_unique<wire::ArmProgressT>();
    arm->arm = "canary";
    arm->release = std::string(64, 'a');
    arm->answers = 12;
    arm->counted = 10;
    arm->needed = 500;
    arm->errors = 1;
    arm->degraded = 2;
    arm->clicks = 3;
    to.arms.push_back(std::move(arm));
  });
  add.operator()<wire::RolloutList>("rollout_list", [](auto& to) {
    to.before = "r1";
    to.limit = 10;
  });
  add.operator()<wire::RolloutPage>("rollout_page", [](auto& to) {
    to.rollouts.push_back(std::make_unique<wire::RolloutT>());
    fill_rollout(*to.rollouts[0]);
    to.last = true;
  });
  add.operator()<wire::RolloutQuery>("rollout_query", [](auto& to) { to.rollout_id = "current"; });
  add.operator()<wire::RolloutChange>("rollout_change", [](auto& to) {
    to.rollout_id = "r1";
    to.action = wire::RolloutAction::abort;
    to.reason = "why";
  });
  add.operator()<wire::ArmReport>("arm_report", [](auto& to) {
    to.gateway = "gateway/0";
    to.number = 3;
    auto arm = std::make_unique<wire::ArmCountsT>();
    arm->arm = "canary";
    arm->release = std::string(64, 'a');
    arm->answers = 4;
    arm->errors = 1;
    arm->degraded = 2;
    arm->latency_bounds_us = {100, 200};
    arm->latency_counts = {1, 2, 1};
    to.arms.push_back(std::move(arm));
    auto shadow = std::make_unique<wire::ShadowCountsT>();
    shadow->release = std::string(64, 'c');
    shadow->compared = 5;
    shadow->overlap_sum = 2.5;
    shadow->rank_correlation_sum = 1.5;
    shadow->errors = 1;
    shadow->latency_bounds_us = {100};
    shadow->latency_counts = {4, 1};
    to.shadow.push_back(std::move(shadow));
  });
  add.operator()<wire::ArmReportReply>("arm_report_reply", [](auto& to) {
    to.next_number = 4;
    to.routing_version = 9;
  });
}

} // namespace troupe::contract
