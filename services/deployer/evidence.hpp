#pragma once

#include "services/deployer/sequential.hpp"

#include "common/core/error.hpp"

#include "schemas/deployer_generated.h"
#include "schemas/event_generated.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::deployer {

/// Buckets of users per arm: what the memory of a rollout is bounded by.
inline constexpr std::size_t user_buckets = 1'024;

/// Counts by latency. The bounds are those of the first report; counts of a report with others go where they
/// weigh against the arm.
struct latency_histogram {
  std::vector<std::uint64_t> bounds; ///< Microseconds, growing.
  std::vector<std::uint64_t> counts; ///< One more than bounds.

  void add(const flatbuffers::Vector<std::uint64_t>* their_bounds,
           const flatbuffers::Vector<std::uint64_t>* their_counts);
  std::uint64_t total() const noexcept;
};

/// What was seen of one arm: answers, errors and latencies by the gateways, impressions and clicks by the
/// event log.
struct arm_evidence {
  std::string arm, release;
  std::uint64_t answers = 0, errors = 0, degraded = 0;
  latency_histogram latency;
  std::vector<click_cell> cells = std::vector<click_cell>(user_buckets);
};

struct shadow_evidence {
  std::string release;
  std::uint64_t compared = 0, errors = 0;
  double overlap_sum = 0, correlation_sum = 0;
  latency_histogram latency;
};

/// What was seen of one step of one rollout. Begins empty with each step, a little after its routing table
/// was published, so that steps do not mix.
struct window {
  std::string rollout;
  std::uint32_t step = 0;
  std::int64_t begins = 0;           ///< Microseconds since 1970 UTC. What happened before is not counted.
  std::uint64_t routing_version = 0; ///< Of the step's table: answers by another one are not counted.
  std::vector<arm_evidence> arms;
  shadow_evidence shadow;

  const arm_evidence* find(std::string_view arm) const noexcept;

  /// Counts the slate of an answer of one of the arms, by the time it happened and the table it was routed
  /// by, and each item of it as an impression; which arm. An impression of before counts, too. Nothing for
  /// anything else. Every answer of an arm counts, the degraded ones too: users were assigned to the arm,
  /// whatever became of it.
  std::optional<std::size_t> count_shown(const wire::Record& from);

  /// Counts clicks of a user on an answer of an arm.
  void count_clicks(std::size_t arm, std::string_view user, std::uint32_t clicks);

  /// Counts what a gateway reports about the arms, unless it is before the beginning.
  bool count(const wire::ArmReport& seen, std::int64_t now);

  std::string packed() const;
  static expected<window> unpacked(std::string_view bytes);
};

using window_ptr = std::shared_ptr<const window>;

} // namespace troupe::deployer
