#pragma once

#include "services/deployer/evidence.hpp"
#include "services/deployer/rollout_machine.hpp"

#include <memory>
#include <string>
#include <vector>

namespace troupe::deployer {

/// What the counts of a step say, and line by line why.
struct analysis {
  Verdict3 verdict = Verdict3::not_enough_data;
  std::string reason;
  std::vector<wire::DecisionT> lines; ///< One per metric; `action` is empty.
};

/// Judges the step that `of` stands at by what was seen of it. Pure.
///
/// fail: one metric is beyond its bound, at a level that holds at every look (alpha is shared out over the
/// steps and metrics of the rollout, so the whole rollout raises a false alarm with probability at most
/// alpha). pass: every metric has its minimum sample and stands within its bound. Anything else, silence
/// first of all, is not enough data.
///
/// - degraded: the share of answers that lack something (a model that did not score, features that did not
///   come) is at most `degraded`, or that of the reference arm; judged where there is a reference arm.
/// - error_rate, p50_us, p95_us, p99_us of the new release's arm. A latency is judged as a rate: at most a
///   share 1 - q of the answers is slower. Where the reference arm is beyond the bound as well and as far,
///   something other than the release is at fault: neither pass nor fail.
/// - click_rate: the lift over the reference arm. fail where it is below 0; A/B passes where it is above 0; a
///   canary passes its last compared step only where the lift is above -click_margin, the steps before it
///   where nothing failed.
/// - sample_ratio: the arm's share of the answers is the one asked for; otherwise the assignment or the
/// logging
///   is broken and no comparison holds (Fabijan et al., Diagnosing sample ratio mismatch, 2019).
/// - shadow: error_rate, latencies, overlap and rank_correlation of the lists.
analysis analyze_step(const rollout& of, const window& seen, std::int64_t now);

/// How far each arm of the step that `of` stands at is from its minimum sample.
std::vector<std::unique_ptr<wire::ArmProgressT>> progress_of(const rollout& of, const window& seen);

} // namespace troupe::deployer
