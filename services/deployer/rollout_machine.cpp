#include "services/deployer/rollout_machine.hpp"

#include <algorithm>
#include <array>

namespace troupe::deployer {

namespace {

std::int64_t micros(std::chrono::microseconds span) {
  return span.count();
}

unexpected<error> forbidden(const rollout& at, std::string_view what) {
  return fail(ec::conflict, "rollout {} is {}: {}", at.id, to_string(at.state), what);
}

transition enter(rollout next, RolloutState state, std::int64_t now, std::string action, std::string reason) {
  next.state = state;
  next.entered = now;
  if (!reason.empty())
    next.reason = std::move(reason);
  if (next.is_over())
    next.ended = now;
  transition made{std::move(next), std::move(action), true};
  return made;
}

transition unchanged(rollout at) {
  return {std::move(at), {}, false};
}

/// Back to the release before, whatever the state. Aliases that may have moved are put back behind it.
transition go_back(rollout at, std::int64_t now, std::string action, std::string reason) {
  bool was_published = at.state != RolloutState::pending && at.state != RolloutState::preparing;
  auto to = at.aliased ? RolloutState::aborting : RolloutState::rolled_back;
  auto made = enter(std::move(at), to, now, std::move(action), std::move(reason));
  made.publishes = was_published;
  return made;
}

transition promote(rollout at, std::int64_t now, std::string reason) {
  at.aliased = true;
  return enter(std::move(at), RolloutState::promoting, now, "promote", std::move(reason));
}

expected<transition> on_command(rollout at, const event::command& what, std::int64_t now) {
  auto why = what.why.empty() ? std::string{"by command"} : what.why;
  switch (what.action) {
  case RolloutAction::abort:
    if (at.state == RolloutState::aborting || at.state == RolloutState::rolled_back ||
        at.state == RolloutState::failed)
      return unchanged(std::move(at));
    if (at.state == RolloutState::done && !at.aliased)
      return forbidden(at, "it changed nothing that could be taken back");
    if (at.state == RolloutState::done && at.from.empty())
      return forbidden(at, "a first release has none before it to go back to; roll another one out");
    return go_back(std::move(at), now, "abort", std::move(why));
  case RolloutAction::promote:
    if (at.state == RolloutState::promoting || (at.state == RolloutState::done && at.aliased))
      return unchanged(std::move(at));
    if (!at.is_running())
      return forbidden(at, "only one whose release the rankers hold can be promoted");
    return promote(std::move(at), now, std::move(why));
  case RolloutAction::pause:
    if (at.state == RolloutState::paused)
      return unchanged(std::move(at));
    if (at.state != RolloutState::running)
      return forbidden(at, "only a running one can be paused");
    at.state = RolloutState::paused;
    at.reason = std::move(why);
    return transition{std::move(at), "pause", false};
  case RolloutAction::resume:
    if (at.state == RolloutState::running)
      return unchanged(std::move(at));
    if (at.state != RolloutState::paused)
      return forbidden(at, "only a paused one can be resumed");
    at.state = RolloutState::running;
    at.reason = std::move(why);
    return transition{std::move(at), "resume", false};
  }
  return fail(ec::invalid_argument, "there is no such action on a rollout");
}

transition on_analyzed(rollout at, const event::analyzed& what, std::int64_t now) {
  if (!at.is_running())
    return unchanged(std::move(at));
  if (what.is == Verdict3::fail) // While paused too: a pause holds what goes forward, not what protects.
    return go_back(std::move(at), now, "roll back", what.why);
  if (what.is != Verdict3::pass || at.state != RolloutState::running ||
      now - at.entered < micros(at.spec.pause))
    return unchanged(std::move(at));
  if (at.step + 1 < at.weights.size()) {
    ++at.step;
    return enter(std::move(at), RolloutState::running, now, "step", what.why);
  }
  if (at.is_shadow())
    return enter(std::move(at), RolloutState::done, now, "done", what.why);
  return promote(std::move(at), now, what.why);
}

transition on_prepared(rollout at, std::int64_t now) {
  if (at.state != RolloutState::preparing)
    return unchanged(std::move(at));
  if (at.spec.strategy == strategy::rolling && at.replicas_told < at.replicas) {
    ++at.replicas_told;
    auto reason = fmt::format("{} of {} rankers hold the release", at.replicas_told - 1, at.replicas);
    at.reason = reason;
    return {std::move(at), "next ranker", false};
  }
  if (at.from.empty())
    return promote(std::move(at), now, "the first release: there is nothing to compare it with");
  at.running_since = now;
  return enter(std::move(at), RolloutState::running, now, "step", "the rankers hold the release");
}

transition on_tick(rollout at, std::int64_t now) {
  if (at.state == RolloutState::preparing && now - at.entered >= micros(at.spec.prepare_timeout)) {
    auto made = enter(std::move(at), RolloutState::failed, now, "fail",
                      "the rankers did not hold the release in time");
    made.publishes = false;
    return made;
  }
  if (at.is_running() && now - at.running_since >= micros(at.spec.give_up))
    return go_back(std::move(at), now, "roll back", "not enough data within the time given");
  return unchanged(std::move(at));
}

} // namespace

double rollout::weight() const noexcept {
  if (state == RolloutState::promoting || (state == RolloutState::done && aliased))
    return 1;
  return is_running() && step < weights.size() ? weights[step] : 0;
}

std::string_view rollout::new_arm() const noexcept {
  switch (spec.strategy) {
  case strategy::canary:
    return "canary";
  case strategy::ab:
    return "b";
  default:
    return "new";
  }
}

std::string_view rollout::reference_arm() const noexcept {
  if (from.empty() || is_shadow() || weight() >= 1)
    return {};
  if (spec.strategy == strategy::ab)
    return "a";
  return spec.baseline ? "baseline" : "production";
}

std::vector<double> weights_of(const rollout_spec& spec, std::uint32_t replicas, bool first) {
  if (first)
    return {};
  if (spec.strategy == strategy::shadow)
    return {0};
  if (spec.strategy != strategy::rolling)
    return spec.steps;
  std::vector<double> out;
  for (std::uint32_t i = 1; i <= replicas; ++i)
    out.push_back(static_cast<double>(i) / replicas);
  return out;
}

expected<transition> step(rollout from, const rollout_event& what, std::int64_t now) {
  if (auto* command = std::get_if<event::command>(&what))
    return on_command(std::move(from), *command, now);
  if (auto* verdict = std::get_if<event::analyzed>(&what))
    return on_analyzed(std::move(from), *verdict, now);
  if (std::holds_alternative<event::prepared>(what))
    return on_prepared(std::move(from), now);
  if (std::holds_alternative<event::tick>(what))
    return on_tick(std::move(from), now);
  if (std::holds_alternative<event::begin>(what)) {
    if (from.state != RolloutState::pending)
      return unchanged(std::move(from));
    from.replicas_told = from.spec.strategy == strategy::rolling ? 1 : from.replicas;
    auto made =
        enter(std::move(from), RolloutState::preparing, now, "prepare", "the rankers load the release");
    made.publishes = false;
    return made;
  }
  if (auto* broken = std::get_if<event::broken>(&what)) {
    if (from.state != RolloutState::preparing)
      return unchanged(std::move(from));
    auto made = enter(std::move(from), RolloutState::failed, now, "fail", broken->why);
    made.publishes = false;
    return made;
  }
  if (from.state == RolloutState::promoting)
    return enter(std::move(from), RolloutState::done, now, "done", {});
  if (from.state == RolloutState::aborting)
    return enter(std::move(from), RolloutState::rolled_back, now, "rolled back", {});
  return unchanged(std::move(from));
}

routing table_of(const rollout& of) {
  routing out;
  out.salt = of.spec.salt.empty() ? of.id : of.spec.salt;
  bool ahead = of.state == RolloutState::promoting || (of.state == RolloutState::done && of.aliased);
  if (!of.is_over())
    out.rollout = of.id;
  if (ahead)
    out.arms.push_back({"production", of.release, 1});
  else if (of.is_running() && !of.is_shadow()) {
    auto share = of.weight();
    out.arms.push_back({std::string{of.new_arm()}, of.release, share});
    auto base = of.spec.baseline ? std::min(share, 1 - share) : 0.0;
    if (auto rest = 1 - share - base; rest > 1e-9)
      out.arms.push_back({of.spec.strategy == strategy::ab ? "a" : "production", of.from, rest});
    if (base > 1e-9)
      out.arms.push_back({"baseline", of.from, base});
  } else if (!of.from.empty())
    out.arms.push_back({"production", of.from, 1});
  if (of.is_running() && of.is_shadow())
    out.shadow = of.release;
  if (ahead || of.is_running())
    out.keep.push_back(of.release);
  if (!of.from.empty())
    out.keep.push_back(of.from);
  return out;
}

window window_of(const rollout& of, std::int64_t begins) {
  window out;
  out.rollout = of.id;
  out.step = of.step;
  out.begins = begins;
  for (auto& each : table_of(of).arms) {
    arm_evidence made;
    made.arm = each.name;
    made.release = each.release;
    out.arms.push_back(std::move(made));
  }
  if (of.is_shadow())
    out.shadow.release = of.release;
  return out;
}

std::vector<std::string> wanted_of(const rollout& of, const routing& now, std::uint32_t replica) {
  if (of.state != RolloutState::preparing)
    return now.keep;
  std::vector<std::string> out;
  for (auto& each : now.arms)
    if (std::ranges::find(out, each.release) == out.end())
      out.push_back(each.release);
  if (replica < of.replicas_told && std::ranges::find(out, of.release) == out.end())
    out.push_back(of.release);
  return out;
}

std::string_view to_string(RolloutState state) noexcept {
  return wire::EnumNameRolloutState(state);
}

std::string_view to_string(Verdict3 verdict) noexcept {
  return wire::EnumNameVerdict3(verdict);
}

wire::RolloutT to_wire(const rollout& of) {
  wire::RolloutT out;
  out.rollout_id = of.id;
  out.strategy = to_string(of.spec.strategy);
  out.release = of.release;
  out.from_release = of.from;
  out.state = of.state;
  out.step = of.weights.empty() ? 0 : of.step + 1;
  out.steps = static_cast<std::uint32_t>(of.weights.size());
  out.weight = of.weight();
  out.reason = of.reason;
  out.spec = of.spec_text;
  out.started = of.started;
  out.ended = of.ended;
  out.weights = of.weights;
  out.replicas = of.replicas;
  out.holding = of.replicas_told;
  out.aliased = of.aliased;
  out.running_since = of.running_since;
  out.entered = of.entered;
  return out;
}

expected<rollout> from_wire(const wire::RolloutT& from) {
  rollout out;
  TROUPE_TRY(spec, rollout_spec::parse(from.spec));
  out.spec = std::move(spec);
  out.id = from.rollout_id;
  out.spec_text = from.spec;
  out.release = from.release;
  out.from = from.from_release;
  out.weights = from.weights;
  out.replicas = std::max(1u, from.replicas);
  out.state = from.state;
  out.step = from.step == 0 ? 0 : from.step - 1;
  out.replicas_told = from.holding;
  out.aliased = from.aliased;
  out.started = from.started;
  out.running_since = from.running_since;
  out.entered = from.entered;
  out.ended = from.ended;
  out.reason = from.reason;
  if (out.is_running() && out.step >= out.weights.size())
    return fail(ec::corrupt, "rollout {} stands at step {} of {}", out.id, out.step + 1, out.weights.size());
  return out;
}

} // namespace troupe::deployer
