#include "services/deployer/analysis.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

namespace troupe::deployer {

namespace {

constexpr std::uint64_t least_clicks = 20;  ///< Of the reference arm, for its rate to be one.
constexpr std::uint32_t least_buckets = 30; ///< Of users in each arm, for their variance to be one.
constexpr double click_scale = 0.2;         ///< The lift that the test is quickest to find.
constexpr double ratio_alpha = 0.001;       ///< A broken assignment is rare and its alarm costs a rollout.

struct one_arm {
  std::string_view name;
  std::uint64_t answers = 0, errors = 0;
  const latency_histogram* latency = nullptr;
};

class step_analyzer {
public:
  step_analyzer(const rollout& of, const window& seen, std::int64_t now)
      : of_{of}, rules_{of.spec.verdict}, seen_{seen}, now_{now} {}

  analysis run() {
    auto reference = of_.reference_arm();
    bool compares = !reference.empty() && rules_.click_rate;
    auto tests = 2 + (rules_.p50.count() > 0) + (rules_.p95.count() > 0) + (compares ? 1 : 0) +
                 (reference.empty() ? 0 : 1) + (of_.is_shadow() ? 2 : 0);
    alpha_ = rules_.alpha / static_cast<double>(tests) /
             static_cast<double>(std::max<std::size_t>(1, of_.weights.size()));
    if (of_.is_shadow())
      analyze_shadow();
    else if (auto* ours = seen_.find(of_.new_arm())) {
      auto* theirs = seen_.find(reference);
      analyze_service(
          {ours->arm, ours->answers, ours->errors, &ours->latency},
          theirs ? std::optional{one_arm{theirs->arm, theirs->answers, theirs->errors, &theirs->latency}}
                 : std::nullopt);
      if (theirs)
        analyze_degraded(*ours, *theirs);
      if (theirs && rules_.click_rate) {
        analyze_ratio(*ours, *theirs);
        analyze_clicks(*ours, *theirs);
      }
    }
    return sum();
  }

private:
  wire::DecisionT& line(std::string metric, std::string_view arm, std::uint64_t n, double value,
                        double bound) {
    wire::DecisionT made;
    made.at = now_;
    made.step = of_.weights.empty() ? 0 : of_.step + 1;
    made.metric = std::move(metric);
    made.arm = arm;
    made.window_us = static_cast<std::uint64_t>(std::max<std::int64_t>(0, now_ - seen_.begins));
    made.value = value;
    made.bound = bound;
    made.n = n;
    out_.lines.push_back(std::move(made));
    return out_.lines.back();
  }

  bool beyond(std::uint64_t hits, std::uint64_t n, double bound) const {
    return log_evidence_above(hits, n, bound) >= -std::log(alpha_);
  }

  /// A share of the answers that is to stay at or below `bound`; `shown` and `limit` are what the record
  /// says.
  void analyze_rate(const std::string& metric, const one_arm& ours, std::uint64_t hits, double bound,
                    double shown, double limit, const std::optional<one_arm>& theirs,
                    std::uint64_t their_hits) {
    auto n = ours.answers;
    auto& to = line(metric, ours.name, n, shown, limit);
    auto rate = n == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(n);
    // What also befalls the reference arm is not the release's doing.
    auto known = theirs && theirs->answers > 0 ? largest_rate(their_hits, theirs->answers, alpha_) : 0.0;
    if (beyond(hits, n, std::max(bound, known))) {
      to.verdict = Verdict3::fail;
      to.reason = fmt::format("{} of {} answers are beyond, more than a share of {:.4g} at level {:.2g}",
                              hits, n, std::max(bound, known), alpha_);
    } else if (beyond(hits, n, bound)) {
      to.against = theirs->name;
      to.reason = fmt::format("{} of {} answers are beyond the bound, {} of {} of {} too: it may not be the "
                              "release's doing",
                              hits, n, their_hits, theirs->answers, theirs->name);
    } else if (n < rules_.min_sample)
      to.reason = fmt::format("{} of at least {} answers", n, rules_.min_sample);
    else if (rate <= bound) {
      to.verdict = Verdict3::pass;
      to.reason = fmt::format("{} of {} answers are beyond", hits, n);
    } else
      to.reason = fmt::format("{} of {} answers are beyond: above the bound, not yet for certain", hits, n);
  }

  void analyze_service(const one_arm& ours, const std::optional<one_arm>& theirs) {
    auto share =
        ours.answers == 0 ? 0.0 : static_cast<double>(ours.errors) / static_cast<double>(ours.answers);
    analyze_rate("error_rate", ours, ours.errors, rules_.error_rate, share, rules_.error_rate, theirs,
                 theirs ? theirs->errors : 0);
    analyze_latency("p50_us", 0.50, rules_.p50, ours, theirs);
    analyze_latency("p95_us", 0.95, rules_.p95, ours, theirs);
    analyze_latency("p99_us", 0.99, rules_.p99, ours, theirs);
  }

  /// What an answer lacks may be the fleet's doing (features that nobody serves), so it is held against the
  /// release only beyond what the reference arm lacks.
  void analyze_degraded(const arm_evidence& ours, const arm_evidence& theirs) {
    auto n = ours.answers;
    auto rate = n == 0 ? 0.0 : static_cast<double>(ours.degraded) / static_cast<double>(n);
    auto& to = line("degraded", ours.arm, n, rate, rules_.degraded);
    to.against = theirs.arm;
    auto most = std::max(rules_.degraded, largest_rate(theirs.degraded, theirs.answers, alpha_));
    if (most < 1 && beyond(ours.degraded, n, most)) {
      to.verdict = Verdict3::fail;
      to.reason = fmt::format("{} of {} answers lack something, more than a share of {:.4g} at level {:.2g}",
                              ours.degraded, n, most, alpha_);
    } else if (n < rules_.min_sample)
      to.reason = fmt::format("{} of at least {} answers", n, rules_.min_sample);
    else {
      to.verdict = Verdict3::pass;
      to.reason = fmt::format("{} of {} answers lack something, {} of {} of {}", ours.degraded, n,
                              theirs.degraded, theirs.answers, theirs.arm);
    }
  }

  void analyze_latency(const char* metric, double q, std::chrono::microseconds limit, one_arm ours,
                       std::optional<one_arm> theirs) {
    auto value = quantile(ours.latency->bounds, ours.latency->counts, q);
    ours.answers = ours.latency->total();
    if (limit.count() == 0) {
      auto& to = line(metric, ours.name, ours.answers, value, 0);
      to.verdict = ours.answers >= rules_.min_sample ? Verdict3::pass : Verdict3::not_enough_data;
      to.reason = "has no bound";
      return;
    }
    auto above = [&](const one_arm& of) {
      return count_above(of.latency->bounds, of.latency->counts, static_cast<std::uint64_t>(limit.count()));
    };
    std::uint64_t their_slow = 0;
    if (theirs) {
      theirs->answers = theirs->latency->total();
      their_slow = above(*theirs);
    }
    analyze_rate(metric, ours, above(ours), 1 - q, value, static_cast<double>(limit.count()), theirs,
                 their_slow);
  }

  void analyze_ratio(const arm_evidence& ours, const arm_evidence& theirs) {
    auto table = table_of(of_);
    double own = 0, both = 0;
    for (auto& each : table.arms) {
      if (each.name == ours.arm)
        own = each.weight;
      if (each.name == ours.arm || each.name == theirs.arm)
        both += each.weight;
    }
    std::vector<click_cell> all = ours.cells;
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < all.size(); ++i)
      n += all[i].answers += theirs.cells[i].answers;
    auto got = share_of(ours.cells, all);
    auto expected_share = own / both;
    auto& to = line("sample_ratio", ours.arm, n, got.value, expected_share);
    to.against = theirs.arm;
    auto users = rate_of(all).buckets;
    if (users < least_buckets || n < rules_.min_sample) {
      to.reason = fmt::format("{} answers to users in {} buckets, of at least {} and {}", n, users,
                              rules_.min_sample, least_buckets);
      return;
    }
    auto scale = 0.2 * std::sqrt(expected_share * (1 - expected_share));
    auto half = sequence_half_width(got.variance, std::min(alpha_, ratio_alpha), scale);
    bool fits = std::abs(got.value - expected_share) <= half;
    to.verdict = fits ? Verdict3::pass : Verdict3::fail;
    to.reason = fits ? fmt::format("within {:.4f}", half)
                     : fmt::format("apart by more than {:.4f}: assignment or logging is broken", half);
  }

  void analyze_clicks(const arm_evidence& ours, const arm_evidence& theirs) {
    auto own = rate_of(ours.cells), base = rate_of(theirs.cells);
    auto apart = lift_of(own, base);
    bool ab = of_.spec.strategy == strategy::ab;
    bool last = of_.step + 1 >= of_.weights.size() || of_.weights[of_.step + 1] >= 1;
    auto& to = line("click_rate", ours.arm, std::min(own.answers, base.answers), apart.value,
                    ab || !last ? 0 : -rules_.click_margin);
    to.against = theirs.arm;
    auto n = std::min(own.answers, base.answers);
    if (n < rules_.min_sample || base.clicks < least_clicks ||
        std::min(own.buckets, base.buckets) < least_buckets) {
      to.reason = fmt::format("{} answers, {} clicks of {}, users in {} buckets; at least {}, {} and {}", n,
                              base.clicks, theirs.arm, std::min(own.buckets, base.buckets), rules_.min_sample,
                              least_clicks, least_buckets);
      return;
    }
    auto half = sequence_half_width(apart.variance, alpha_, click_scale);
    auto low = apart.value - half, high = apart.value + half;
    auto numbers = fmt::format("{:.5f} against {:.5f}, lift {:+.1f} %, from {:+.1f} % to {:+.1f} %", own.rate,
                               base.rate, 100 * apart.value, 100 * low, 100 * high);
    if (high < 0)
      to.verdict = Verdict3::fail;
    else if (ab ? low > 0 : !last || low > -rules_.click_margin)
      to.verdict = Verdict3::pass;
    to.reason = numbers;
  }

  void analyze_shadow() {
    auto& from = seen_.shadow;
    one_arm ours{"shadow", from.compared + from.errors, from.errors, &from.latency};
    analyze_service(ours, std::nullopt);
    auto n = from.compared;
    auto mean = [&](double sum) { return n == 0 ? 0.0 : sum / static_cast<double>(n); };
    analyze_mean("overlap", n, mean(from.overlap_sum), rules_.overlap, 0.25);
    analyze_mean("rank_correlation", n, mean(from.correlation_sum), rules_.rank_correlation, 1);
  }

  /// A mean of bounded values, each sub-Gaussian with `variance` (Hoeffding): the sequence is exact.
  void analyze_mean(const char* metric, std::uint64_t n, double value, double least, double variance) {
    auto& to = line(metric, "shadow", n, value, least);
    to.against = "production";
    auto half = n == 0 ? INFINITY : sequence_half_width(variance / static_cast<double>(n), alpha_, 0.1);
    if (value + half < least)
      to.verdict = Verdict3::fail;
    else if (n >= rules_.min_sample && value >= least)
      to.verdict = Verdict3::pass;
    to.reason = fmt::format("mean of {} compared answers, within {:.4f}", n, half);
  }

  analysis sum() {
    bool all = !out_.lines.empty();
    for (auto& each : out_.lines) {
      if (each.verdict == Verdict3::fail && out_.verdict != Verdict3::fail) {
        out_.verdict = Verdict3::fail;
        out_.reason = fmt::format("{} of {}: {}", each.metric, each.arm, each.reason);
      }
      all = all && each.verdict == Verdict3::pass;
      if (each.verdict == Verdict3::not_enough_data && out_.verdict != Verdict3::fail && out_.reason.empty())
        out_.reason = fmt::format("{} of {}: {}", each.metric, each.arm, each.reason);
    }
    if (all) {
      out_.verdict = Verdict3::pass;
      out_.reason = fmt::format("{} metrics passed", out_.lines.size());
    } else if (out_.lines.empty())
      out_.reason = "nothing was seen";
    return std::move(out_);
  }

  const rollout& of_;
  const verdict_rules& rules_;
  const window& seen_;
  std::int64_t now_;
  double alpha_ = 0.05;
  analysis out_;
};

} // namespace

analysis analyze_step(const rollout& of, const window& seen, std::int64_t now) {
  return step_analyzer{of, seen, now}.run();
}

std::vector<std::unique_ptr<wire::ArmProgressT>> progress_of(const rollout& of, const window& seen) {
  std::vector<std::unique_ptr<wire::ArmProgressT>> out;
  auto& rules = of.spec.verdict;
  if (of.is_shadow()) {
    auto made = std::make_unique<wire::ArmProgressT>();
    made->arm = "shadow";
    made->release = seen.shadow.release;
    made->answers = seen.shadow.compared + seen.shadow.errors;
    made->counted = seen.shadow.compared;
    made->needed = rules.min_sample;
    made->errors = seen.shadow.errors;
    out.push_back(std::move(made));
    return out;
  }
  auto reference = of.reference_arm();
  bool compares = !reference.empty() && rules.click_rate;
  for (auto& each : seen.arms) {
    auto clicks = rate_of(each.cells);
    bool judged = each.arm == of.new_arm() || (compares && each.arm == reference);
    auto made = std::make_unique<wire::ArmProgressT>();
    made->arm = each.arm;
    made->release = each.release;
    made->answers = each.answers;
    made->counted = compares ? std::min(each.answers, clicks.answers) : each.answers;
    made->needed = judged ? rules.min_sample : 0;
    made->errors = each.errors;
    made->degraded = each.degraded;
    made->clicks = clicks.clicks;
    out.push_back(std::move(made));
  }
  return out;
}

} // namespace troupe::deployer
