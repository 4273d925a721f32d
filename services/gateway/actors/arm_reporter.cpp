#include "services/gateway/actors/arm_reporter.hpp"

#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"

#include <caf/actor_system.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

constexpr auto report_every = 1s;
constexpr auto report_timeout = 2s;

class arm_reporter_state {
public:
  using pointer = arm_reporter_actor::stateful_pointer<arm_reporter_state>;
  explicit arm_reporter_state(pointer self) : self_{self}, tick_{self, report_every} {}

  arm_reporter_actor::behavior_type make_behavior(deps_ptr deps) {
    deps_ = std::move(deps);
    tick_.start();
    return {tick_.handler([this] { report(); }),
            [this](net::reply_atom, std::uint64_t, const net::result_ptr& result) {
              if (*result)
                on_reply((*result)->payload);
              tick_.start();
            }};
  }

  const char* name = "arm_reporter";

private:
  /// What was kept and not acknowledged goes first, as it was: the deployer knows it by its number.
  void report() {
    auto pending = deps_->state->get_state(report_state);
    if (!pending)
      return log::warn("report-unread", "gateway cannot read its report: {}", render(pending.error()));
    chunk bytes;
    if (*pending && !(*pending)->empty())
      bytes = chunk::own(std::move(**pending));
    else {
      bytes = deps_->arms.take(deps_->options.identity, number());
      if (bytes.empty())
        return;
      if (auto kept = deps_->state->put_state({{report_state, bytes.text()}}); !kept)
        return log::warn("report-not-kept", "gateway loses a report of its arms: {}", render(kept.error()));
    }
    tick_.stop();
    deps_->behind.deployer.ask(arm_reporter_actor{self_}, 0, wire::Kind::arm_report, std::move(bytes),
                               deadline::in(report_timeout));
  }

  void on_reply(const chunk& payload) {
    auto reply = net::read_as<wire::ArmReportReply>(payload, "TRPD", "ArmReportReply");
    if (!reply)
      return log::warn("report-answer", "gateway will report again: {}", render(reply.error()));
    std::string next;
    store::append_u64(next, std::max(number() + 1, (*reply)->next_number()));
    if (auto done = deps_->state->put_state({{report_number_state, next}, {report_state, ""}}); !done)
      log::warn("report-not-kept", "gateway will report again: {}", render(done.error()));
  }

  std::uint64_t number() const {
    auto kept = deps_->state->get_state(report_number_state);
    return kept && *kept && (*kept)->size() == 8 ? store::read_u64(**kept) : 1;
  }

  pointer self_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  deps_ptr deps_;
};

} // namespace

arm_reporter_actor spawn_arm_reporter(caf::actor_system& system, deps_ptr deps) {
  auto behaviour = [](arm_reporter_state::pointer self, const deps_ptr& shared) {
    return self->state.make_behavior(shared);
  };
  return system.spawn(behaviour, deps);
}

} // namespace troupe::gateway
