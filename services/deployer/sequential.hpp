#pragma once

#include <cstdint>
#include <span>

/// Sequential statistics: statements that hold at every look at once, however often somebody looks (Ville's
/// inequality), so that stopping when one likes what one sees does not raise the rate of false alarms.
namespace troupe::deployer {

/// Log of the evidence that events happen more often than `bound`, after `hits` of `n`.
///
/// An e-process for the composite null "the rate is at most `bound`": the likelihood ratio of a mixture over
/// rates above the bound against the bound itself (Robbins, Statistical methods related to the law of the
/// iterated logarithm, 1970; beta-binomial mixture in Howard, Ramdas, McAuliffe, Sekhon, Time-uniform,
/// nonparametric, nonasymptotic confidence sequences, 2021). The mixture is Beta(1, 1/bound - 1), cut at the
/// bound: its scale is that of the bound. Under the null it ever reaches 1/alpha with probability at most
/// alpha, exactly, for independent trials. Negative infinity where there is none. Needs 0 < bound < 1.
double log_evidence_above(std::uint64_t hits, std::uint64_t n, double bound) noexcept;

/// The largest rate that `hits` of `n` events are not evidence against at level `alpha`: the upper end of a
/// confidence sequence, made of the tests as above for rates below each bound. Valid at all looks; 1 where
/// nothing was seen.
double largest_rate(std::uint64_t hits, std::uint64_t n, double alpha) noexcept;

/// Half the width of a confidence sequence around an asymptotically normal estimate whose variance is
/// `variance`, at level `alpha` (two-sided), valid at all looks.
///
/// The normal mixture boundary (Robbins, 1970) on the scale of information 1/variance, on which the path of
/// an estimate behaves as a Brownian motion with drift (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas,
/// Time-uniform central limit theory and asymptotic confidence sequences, 2021; Scharfstein, Tsiatis, Robins,
/// 1997). Asymptotic: it asks for a minimum sample. `scale` is the size of effect it is tightest for; it must
/// not depend on the data. Infinity where `variance` is not positive.
double sequence_half_width(double variance, double alpha, double scale) noexcept;

/// What one hash bucket of users was shown and did. Users never change their bucket, so buckets are
/// independent although the requests of one user are not.
struct click_cell {
  std::uint32_t answers = 0;
  std::uint32_t impressions = 0;
  std::uint32_t clicks = 0;
};

/// Clicks per impression: a ratio estimator with buckets of users as clusters (Cochran, Sampling Techniques,
/// 1977, 6.4; Deng, Knoblich, Lu, Applying the delta method in metric analytics, 2018).
struct click_rate {
  std::uint64_t answers = 0, impressions = 0, clicks = 0;
  std::uint32_t buckets = 0; ///< With at least one answer.
  double rate = 0;
  double variance = 0; ///< Of the rate; never below that of a binomial with one click more.
};
click_rate rate_of(std::span<const click_cell> cells) noexcept;

/// (rate - base) / base and its variance by the delta method. Needs clicks in `base`.
struct lift {
  double value = 0, variance = 0;
};
lift lift_of(const click_rate& of, const click_rate& base) noexcept;

/// The share of `of` in the answers of all and its variance, with buckets of users as clusters. The spans are
/// equally long.
struct share {
  double value = 0, variance = 0;
};
share share_of(std::span<const click_cell> of, std::span<const click_cell> all) noexcept;

/// The value below which a share `q` of the counted lies, by straight lines within buckets; the last bound
/// where it lies above all. `counts` has one element more than `bounds`. 0 where nothing was counted.
double quantile(std::span<const std::uint64_t> bounds, std::span<const std::uint64_t> counts,
                double q) noexcept;

/// How many lie above the largest bound that is not above `limit`: at least as many as lie above `limit`.
std::uint64_t count_above(std::span<const std::uint64_t> bounds, std::span<const std::uint64_t> counts,
                          std::uint64_t limit) noexcept;

} // namespace troupe::deployer
