#pragma once

#include "common/actor/service_context.hpp"
#include "common/core/error.hpp"
#include "common/core/time.hpp"

#include <caf/actor.hpp>
#include <caf/actor_cast.hpp>

#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

/// What a spawn function gives back: an actor, or something to stop, or both, or nothing.
struct component {
  /// Monitored; its end before the stop ends the service. Stopped by an EXIT message (user_shutdown): an
  /// actor that has work under way traps it, drains and quits; the others quit by themselves.
  caf::actor handle;

  /// Called on the main thread after the actor has ended: joins threads, closes files. Must return by the
  /// deadline.
  std::function<void(deadline)> stop;

  component() = default;

  /// From any actor handle, typed or not.
  template <class Handle>
  requires requires(const Handle& actor) { caf::actor_cast<caf::actor>(actor); }
  component(const Handle& actor)
      : handle{caf::actor_cast<caf::actor>(actor)} {} // NOLINT: meant to be implicit

  explicit component(std::function<void(deadline)> at_stop) : stop{std::move(at_stop)} {}
};

/// Runs on the main thread in start order. May take its time (recovery): the service says `starting` until it
/// returns.
using spawn_function = std::function<expected<component>(service_context&)>;

/// The components that must be ready before this one is spawned, and that outlive it.
struct needs {
  needs() = default;
  needs(std::initializer_list<const char*> list) : names{list.begin(), list.end()} {}
  std::vector<std::string> names;
};

/// The components of a service, in any order; `needs` says which comes first.
class component_list {
public:
  struct item {
    std::string name;
    spawn_function spawn;
    std::vector<std::string> needs;
  };

  component_list add(std::string name, spawn_function spawn, needs first = {}) && {
    items_.push_back({std::move(name), std::move(spawn), std::move(first.names)});
    return std::move(*this);
  }
  component_list& add(std::string name, spawn_function spawn, needs first = {}) & {
    items_.push_back({std::move(name), std::move(spawn), std::move(first.names)});
    return *this;
  }

  /// Every component after those it needs, otherwise in the order they were added. Fails on a need that
  /// nobody meets, on a name given twice, and on a circle.
  expected<std::vector<item>> in_start_order() const;

private:
  std::vector<item> items_;
};

} // namespace troupe
