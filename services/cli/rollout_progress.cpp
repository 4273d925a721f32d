#include "services/cli/rollout_progress.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace troupe::cli {

std::string waiting_text(const wire::RolloutT& of) {
  switch (of.state) {
  case wire::RolloutState::pending:
  case wire::RolloutState::preparing:
    return fmt::format("waits for the rankers to load release {}: {}", of.release.substr(0, 12), of.reason);
  case wire::RolloutState::running:
  case wire::RolloutState::paused:
    break;
  default:
    return of.reason;
  }
  auto out = fmt::format("step {} of {}, {:.3g} % of users{}: ", of.step, of.steps, 100 * of.weight,
                         of.state == wire::RolloutState::paused ? ", paused" : "");
  bool enough = true;
  std::string have;
  for (auto& each : of.arms) {
    if (each->needed == 0)
      continue;
    enough = enough && each->counted >= each->needed;
    have += fmt::format("{}{} has {} of {} answers", have.empty() ? "" : ", ", each->arm, each->counted,
                        each->needed);
  }
  if (have.empty())
    return out + "its counts have not begun";
  if (std::ranges::all_of(of.arms, [](auto& each) { return each->answers == 0; }))
    return out + have + "; no recommendation has been asked for since the step began";
  return out + have + (enough ? "; not decided: " + of.reason : "");
}

bool is_telling(const wire::DecisionT& of) {
  return !of.action.empty() || !of.metric.ends_with("_us") || of.bound > 0;
}

std::string by_hand_text(const wire::RolloutT& of) {
  return fmt::format(
      "to decide by hand: troupe rollouts promote {0}, troupe rollouts abort {0}, troupe rollouts "
      "{1} {0}",
      of.rollout_id, of.state == wire::RolloutState::paused ? "resume" : "pause");
}

} // namespace troupe::cli
