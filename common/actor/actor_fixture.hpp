#pragma once

#include "common/actor/errors.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/exit_reason.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/send.hpp>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace troupe::testing {

/// An actor system whose scheduler and clock stand still until the test moves them. For tests only. Detached
/// actors are out of its sight.
class actor_fixture {
  struct config : caf::actor_system_config {
    config() { set("scheduler.policy", caf::atom("testing")); }
  };

public:
  actor_fixture()
      : system{config_}, scheduler{dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler())} {}

  /// Kills every actor it was told of and drains, so that the system can end.
  ~actor_fixture() {
    for (auto& each : owned_)
      caf::anon_send_exit(each, caf::exit_reason::kill);
    owned_.clear();
    run();
  }
  actor_fixture(const actor_fixture&) = delete;
  actor_fixture& operator=(const actor_fixture&) = delete;

  /// Remembers an actor to kill at the end; gives it back.
  template <class Handle>
  Handle own(Handle actor) {
    owned_.push_back(caf::actor_cast<caf::actor>(actor));
    return actor;
  }

  /// Lets everybody work until nobody has a message; timers do not fire.
  std::size_t run(std::size_t at_most = 100'000) {
    std::size_t count = 0;
    while (count < at_most && scheduler.try_run_once())
      ++count;
    return count;
  }

  /// One actor handles its next messages.
  bool step() { return scheduler.try_run_once(); }

  /// Moves the clock, fires what is due, and runs.
  void advance(std::chrono::nanoseconds span) {
    scheduler.advance_time(std::chrono::duration_cast<caf::timespan>(span));
    run();
  }

  deadline::clock::time_point now() { return scheduler.clock().now(); }
  deadline in(deadline::clock::duration span) { return deadline{now() + span}; }

  /// An answer that has come, or has not yet.
  template <class T>
  using answer = std::shared_ptr<std::optional<expected<T>>>;

  /// Asks and does not run; the answer fills in later.
  template <class T, class Handle, class... Args>
  answer<T> ask_later(const Handle& to, Args... args) {
    auto got = std::make_shared<std::optional<expected<T>>>();
    own(caf::actor_cast<caf::actor>(system.spawn([=](caf::event_based_actor* self) {
      self->request(to, caf::infinite, args...)
          .then([got](const T& value) { got->emplace(value); },
                [got](const caf::error& err) { got->emplace(unexpected<error>{from_caf(err)}); });
    })));
    return got;
  }

  /// Asks and runs; ec::internal when there is no answer then.
  template <class T, class Handle, class... Args>
  expected<T> ask(const Handle& to, Args... args) {
    auto got = ask_later<T>(to, std::move(args)...);
    run();
    return *got ? **got : expected<T>{fail(ec::internal, "no answer came")};
  }

private:
  config config_;
  std::vector<caf::actor> owned_;

public:
  caf::actor_system system;
  caf::scheduler::test_coordinator& scheduler;
};

} // namespace troupe::testing
