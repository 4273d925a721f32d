#pragma once

#include "services/deployer/evidence.hpp"
#include "services/deployer/rollout_spec.hpp"

#include "schemas/deployer_generated.h"

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace troupe::deployer {

using wire::RolloutAction;
using wire::RolloutState;
using wire::Verdict3;

struct arm {
  std::string name, release;
  double weight = 0;

  friend bool operator==(const arm&, const arm&) = default;
};

/// What the routing table says, without its version.
struct routing {
  std::vector<arm> arms;
  std::string salt, shadow, rollout;
  std::vector<std::string> keep;

  friend bool operator==(const routing&, const routing&) = default;
};

/// A rollout as it is written down: all that the next life needs to go on.
struct rollout {
  std::string id;
  std::string spec_text;
  rollout_spec spec;
  std::string release;         ///< Id, resolved at the start.
  std::string from;            ///< Release in production at the start; empty: there was none.
  std::vector<double> weights; ///< Share of the new release per step; empty for a first release.
  std::uint32_t replicas = 1;  ///< Of the ranker, at the start.

  RolloutState state = RolloutState::pending;
  std::uint32_t step = 0;          ///< Index into `weights`.
  std::uint32_t replicas_told = 0; ///< rolling: so many replicas have been told to hold the release.
  bool aliased = false;            ///< The aliases in the registry may have been moved.
  std::int64_t started = 0, running_since = 0, entered = 0, ended = 0; ///< Microseconds since 1970 UTC.
  std::string reason;                                                  ///< Why it stands where it stands.

  bool is_shadow() const noexcept { return spec.strategy == strategy::shadow; }
  bool is_running() const noexcept { return state == RolloutState::running || state == RolloutState::paused; }
  bool is_over() const noexcept {
    return state == RolloutState::done || state == RolloutState::rolled_back || state == RolloutState::failed;
  }
  double weight() const noexcept;
  /// Of the new release's arm, and of the arm it is compared with (empty: none in this step).
  std::string_view new_arm() const noexcept;
  std::string_view reference_arm() const noexcept;
};

/// Shares of the new release by step.
std::vector<double> weights_of(const rollout_spec& spec, std::uint32_t replicas, bool first);

namespace event {
struct begin {};
struct prepared {}; ///< Every replica that was told to holds the release.
struct broken {
  std::string why;
}; ///< A replica cannot load it.
struct analyzed {
  Verdict3 is;
  std::string why;
};
struct aliases_set {}; ///< The registry's aliases are those of the state.
struct tick {};
struct command {
  RolloutAction action;
  std::string why;
};
} // namespace event
using rollout_event = std::variant<event::begin, event::prepared, event::broken, event::analyzed,
                                   event::aliases_set, event::tick, event::command>;

/// What came of an event: where the rollout stands now, and what was decided in a word ("step", "promote",
/// "roll back"...; empty: nothing, and nothing changed).
struct transition {
  rollout next;
  std::string action;
  bool publishes = false; ///< The routing table is now `table_of(next)`.
};

/// The state machine of a rollout: pure, so that it goes on from its record after any end. Fails with
/// ec::conflict for a command that the state forbids; `abort` is forbidden only where there is nothing to go
/// back to. An abort publishes at once: it waits for no ranker, gateway or registry.
expected<transition> step(rollout from, const rollout_event& what, std::int64_t now);

/// The table that a rollout wants once it publishes. The new release's arm is the first and the baseline the
/// last, so that users stay where they are while the shares grow.
routing table_of(const rollout& of);

/// What has been seen of the step that begins with `of`, that is nothing yet.
window window_of(const rollout& of, std::int64_t begins);

/// The releases that a ranker replica is to hold while `of` is prepared, otherwise those of `now`.
std::vector<std::string> wanted_of(const rollout& of, const routing& now, std::uint32_t replica);

std::string_view to_string(RolloutState state) noexcept;
std::string_view to_string(Verdict3 verdict) noexcept;

/// As it travels and as it is kept.
wire::RolloutT to_wire(const rollout& of);
expected<rollout> from_wire(const wire::RolloutT& from);

} // namespace troupe::deployer
