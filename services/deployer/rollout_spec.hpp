#pragma once

#include "common/core/error.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::deployer {

enum class strategy : std::uint8_t { canary, ab, shadow, blue_green, rolling };

std::string_view to_string(strategy from) noexcept;

/// What a verdict needs. Counts are per arm and step.
struct verdict_rules {
  std::uint64_t min_sample = 500;   ///< Answers before anything passes.
  double alpha = 0.05;              ///< Chance of a false alarm over the whole rollout, all metrics.
  double error_rate = 0.01;         ///< Share of answers that failed.
  double degraded = 0.05;           ///< Share of answers that lack something, beyond the reference arm's.
  std::chrono::microseconds p50{0}; ///< 0: not judged.
  std::chrono::microseconds p95{0}; ///< 0: not judged.
  std::chrono::microseconds p99{500'000};
  bool click_rate = true;         ///< Off by default where there is nothing to compare with.
  double click_margin = 0.1;      ///< How much worse, as a share of the reference, still promotes.
  double overlap = 0.05;          ///< shadow: least mean overlap of the lists, 0 to 1.
  double rank_correlation = -0.2; ///< shadow: least mean rank correlation, -1 to 1.
};

/// How a release becomes the one in production. Read from TOML; `parse` knows the defaults of a strategy.
struct rollout_spec {
  deployer::strategy strategy = strategy::canary;
  std::string release;                         ///< As asked for: an id, its beginning, or a name.
  std::vector<double> steps;                   ///< Shares of users, 0 to 1, growing.
  std::chrono::microseconds pause{30'000'000}; ///< The least time of a step.
  bool baseline = false;                       ///< canary: judge against a fresh arm of the old release.
  std::string salt;                            ///< Empty: the id of the rollout.
  std::chrono::microseconds give_up{
      std::chrono::hours{24 * 7}}; ///< Without a verdict for so long: rolled back.
  std::chrono::microseconds prepare_timeout{std::chrono::minutes{10}};
  verdict_rules verdict;

  /// Fails with ec::invalid_argument, naming key, value and bound.
  static expected<rollout_spec> parse(std::string_view toml);
};

} // namespace troupe::deployer
