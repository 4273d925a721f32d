#pragma once

#include "services/cli/synthetic_data/random.hpp"

#include "common/core/error.hpp"
#include "common/core/time.hpp"
#include "common/event/record.hpp"

#include <array>
#include <optional>

namespace troupe::synthetic_data {

/// What synthetic data are made from. The same settings give the same bytes.
struct settings {
  std::uint64_t seed = 1;
  std::uint64_t users = 1'000;    ///< 1 to 10^9.
  std::uint64_t items = 500;      ///< 1 to 10^8.
  std::uint64_t events = 100'000; ///< All event types together, exactly. 0 to 10^12.
  timestamp start{std::chrono::sys_days{std::chrono::year{2026} / 1 / 1}};
  std::chrono::microseconds span{std::chrono::days{30}}; ///< From the first session to about the last.
  double item_skew = 1.0;                                ///< Zipf exponent of item popularity, 0.01 to 5.
  double user_skew = 0.7;                                ///< Zipf exponent of user activity, 0.01 to 5.
  double exploration = 0.2; ///< Share of the logging policy that is uniform over items, 0 to 1.
  unsigned slate = 5;       ///< Positions shown at once, 1 to 100.
  double late = 0.01;       ///< Share of events that arrive after later ones, 0 to 1.
  std::chrono::microseconds mean_delay{std::chrono::hours{1}}; ///< Of late events.
  std::optional<double> drift_at; ///< Share of the span after which tastes and popularity change, 0 to 1.

  expected<void> validate() const;
};

/// What users like and how they click: what no log shows and every estimator is measured against. Constant
/// memory; all functions are pure and may be called from any thread. Users and items are numbered from 0,
/// positions from 1.
class preference_model {
public:
  static constexpr std::size_t factors = 8;
  using vector = std::array<double, factors>;

  explicit preference_model(settings config);

  const settings& of() const noexcept { return settings_; }

  /// Latent taste of a user before or after the drift.
  vector user_factors(std::uint64_t user, bool drifted) const noexcept;
  vector item_factors(std::uint64_t item) const noexcept;

  /// How much an item is liked by everybody.
  double quality(std::uint64_t item) const noexcept;

  /// Quality plus the match of the factors; about normal with variance 2.
  double affinity(std::uint64_t user, std::uint64_t item, timestamp at) const noexcept;

  /// That a user looks at a position at all: 1, 0.67, 0.5, 0.4...
  double examination(unsigned position) const noexcept { return 1.0 / (1.0 + 0.5 * (position - 1)); }

  /// The position-based click model (Craswell et al., 2008): examination times attraction.
  double click_probability(std::uint64_t user, std::uint64_t item, unsigned position,
                           timestamp at) const noexcept;

  /// That the logging policy shows an item at any one position; positions are drawn independently.
  double propensity(std::uint64_t item, timestamp at) const noexcept;
  std::uint64_t draw_item(random& source, timestamp at) const noexcept;
  std::uint64_t draw_user(random& source) const noexcept;

  bool drifted(timestamp at) const noexcept { return drift_time_ && at >= *drift_time_; }
  std::optional<timestamp> drift_time() const noexcept { return drift_time_; }

  /// Mean clicks per impression of a policy that shows items by its logging propensity, or uniformly, at a
  /// moment: an average over `draws` independent draws.
  double policy_value(bool uniform, timestamp at, std::uint64_t draws = 20'000) const noexcept;

  record user_record(std::uint64_t user) const;
  record item_record(std::uint64_t item) const;
  static std::string user_id(std::uint64_t user) { return fmt::format("u{}", user); }
  static std::string item_id(std::uint64_t item) { return fmt::format("i{}", item); }

  /// Everything above as JSON: settings, click model, policy values.
  std::string json() const;

private:
  settings settings_;
  zipf popularity_;
  zipf activity_;
  permutation item_of_rank_;
  permutation item_of_rank_drifted_;
  permutation user_of_rank_;
  std::optional<timestamp> drift_time_;
};

} // namespace troupe::synthetic_data
