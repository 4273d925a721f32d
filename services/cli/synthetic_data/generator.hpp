#pragma once

#include "services/cli/synthetic_data/preference_model.hpp"

#include <queue>

namespace troupe::synthetic_data {

/// What a generator has made so far.
struct counts {
  std::uint64_t slates = 0;
  std::uint64_t impressions = 0; ///< Items that the slates show.
  std::uint64_t clicks = 0;
  std::uint64_t ratings = 0;
  std::uint64_t late = 0; ///< Held back, so that they stand behind later events.
  std::uint64_t sessions = 0;

  std::uint64_t events() const noexcept { return slates + clicks + ratings; }
};

/// Streams the events of synthetic data in the order of their arrival, exactly `settings::events` of them.
/// Sessions start one after the other and overlap; a slate (attributes: policy, session, device) shows an
/// item per position with its propensity; a click names its slate by request id; some clicks end in a rating
/// of 1 to 5. Holds at most `most_held` events at any size. Not thread-safe.
class generator {
public:
  static constexpr std::size_t most_held = 65'536;

  explicit generator(settings config);

  /// The next event; nothing at the end.
  std::optional<record> next();

  const preference_model& laws() const noexcept { return preferences_; }
  const counts& made() const noexcept { return counts_; }
  std::size_t held_peak() const noexcept { return held_peak_; }

private:
  struct held {
    timestamp arrival;
    std::uint64_t order;
    record event;

    bool operator<(const held& other) const noexcept { // The queue gives the largest first.
      return arrival != other.arrival ? arrival > other.arrival : order > other.order;
    }
  };

  void make_session();
  void hold(record event, random& source);
  bool finished() const noexcept { return counts_.events() >= preferences_.of().events; }

  preference_model preferences_;
  counts counts_;
  random clock_;
  timestamp session_start_;
  double mean_gap_us_;
  std::uint64_t order_ = 0;
  std::priority_queue<held> held_;
  std::size_t held_peak_ = 0;
};

} // namespace troupe::synthetic_data
