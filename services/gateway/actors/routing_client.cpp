#include "services/gateway/actors/routing_client.hpp"

#include "common/log/log.hpp"
#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"

#include <caf/actor_system.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace troupe::gateway {

namespace {

using namespace std::chrono_literals;

constexpr auto poll_wait = 10s;    ///< How long the deployer holds a poll when nothing changes.
constexpr auto poll_timeout = 15s; ///< How long we wait for its answer.
constexpr auto pause_after_answer = 100ms, pause_after_failure = 500ms;

class routing_client_state {
public:
  using pointer = routing_client_actor::stateful_pointer<routing_client_state>;
  explicit routing_client_state(pointer self) : self_{self}, tick_{self, pause_after_answer} {}

  routing_client_actor::behavior_type make_behavior(deps_ptr deps, health::report report) {
    deps_ = std::move(deps);
    report_ = std::move(report);
    report_.gauge("routing_version", static_cast<double>(deps_->routing.get()->version));
    tick_.start(0s);
    return {tick_.handler([this] { poll(); }),
            [this](net::reply_atom, std::uint64_t, const net::result_ptr& result) { on_reply(*result); }};
  }

  const char* name = "routing_client";

private:
  void poll() {
    tick_.stop();
    flatbuffers::FlatBufferBuilder out;
    auto wait_us = std::chrono::duration_cast<std::chrono::microseconds>(poll_wait).count();
    out.Finish(
        wire::CreateRoutingQuery(out, deps_->routing.get()->version, static_cast<std::uint64_t>(wait_us)),
        "TRPD");
    deps_->behind.deployer.ask(routing_client_actor{self_}, 0, wire::Kind::routing, net::bytes_of(out),
                               deadline::in(poll_timeout));
  }

  void on_reply(const expected<net::reply>& got) {
    auto current = deps_->routing.get()->version;
    auto table =
        got ? routing_table::read(got->payload) : expected<routing_table>{unexpected<error>{got.error()}};
    if (!table) {
      report_.degraded(fmt::format("routing table {} goes on: {}", current, table.error().text));
      return tick_.start(pause_after_failure);
    }
    report_.ready();
    if (table->version == current)
      return tick_.start();
    take(std::move(*table));
    tick_.start(0s);
  }

  void take(routing_table table) {
    log::info("routing-changed", "gateway routes by table {} with {} arms", table.version, table.arms.size());
    if (auto kept = deps_->state->put_state({{routing_state, table.bytes.text()}}); !kept)
      log::warn("routing-not-kept", "gateway cannot keep the routing table: {}", render(kept.error()));
    report_.gauge("routing_version", static_cast<double>(table.version));
    deps_->routing.set(std::make_shared<const routing_table>(std::move(table)));
  }

  pointer self_;
  self_tick<std::remove_pointer_t<pointer>> tick_;
  deps_ptr deps_;
  health::report report_;
};

} // namespace

routing_client_actor spawn_routing_client(caf::actor_system& system, deps_ptr deps, health::report report) {
  auto behaviour = [](routing_client_state::pointer self, const deps_ptr& shared,
                      const health::report& about) { return self->state.make_behavior(shared, about); };
  return system.spawn(behaviour, deps, report);
}

} // namespace troupe::gateway
