#pragma once

#include "schemas/deployer_generated.h"

#include <string>

namespace troupe::cli {

/// What a rollout that is not over waits for, in one line: answers of each arm as it has and needs them, then
/// the metric that is not decided yet. `of` is an answer to rollout_show.
std::string waiting_text(const wire::RolloutT& of);

/// Whether a table shows this line: a latency without a bound is noted at every look, and decides nothing.
bool is_telling(const wire::DecisionT& of);

/// The commands that decide in its place, in one line.
std::string by_hand_text(const wire::RolloutT& of);

} // namespace troupe::cli
