#pragma once

#include "common/actor/component_list.hpp"
#include "common/actor/service_context.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <caf/actor_addr.hpp>
#include <caf/scoped_actor.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

/// Starts components in order, notices when one dies, stops them in reverse. For one thread: that of the
/// service.
class component_runner {
public:
  explicit component_runner(service_context& context) : context_{context}, self_{context.system()} {}

  /// Spawns every component. Ends early, without an error, when `give_up` says so between two of them. On
  /// failure those already started keep running: call `stop`.
  expected<void> start(const component_list& components, const std::function<bool()>& give_up);

  /// Waits for a component to die or for `wake`, at most so long. Gives the name of the component that died
  /// and why.
  std::optional<error> wait(std::chrono::milliseconds at_most);

  /// Ends a `wait` from any thread.
  std::function<void()> waker();

  /// Stops in reverse order, all within the budget; logs who is left. An actor that does not end is killed;
  /// false when one did not even end then, or when something ended only after the budget.
  bool stop(deadline by);

  component_runner(const component_runner&) = delete;
  component_runner& operator=(const component_runner&) = delete;

private:
  struct running {
    std::string name;
    component part;
    health::report report;
    caf::actor_addr address;
    bool ended = false;
  };

  bool stop_one(running& item, deadline by);
  void ended(const caf::actor_addr& address);

  service_context& context_;
  caf::scoped_actor self_;
  std::vector<running> started_;
};

} // namespace troupe
