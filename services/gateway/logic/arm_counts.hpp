#pragma once

#include "common/core/bytes.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace troupe::gateway {

/// What this gateway saw per arm and of shadows since it last said so. Any thread.
class arm_counts {
public:
  static constexpr std::array<std::uint64_t, 20> bounds{
      250,    500,    1'000,  2'000,  3'000,   5'000,   7'500,   10'000,  15'000,    20'000,
      30'000, 42'000, 60'000, 80'000, 120'000, 200'000, 350'000, 500'000, 1'000'000, 2'500'000};

  void answered(const std::string& arm, const std::string& release, std::uint64_t us, bool error,
                bool degraded);
  void compared(const std::string& release, std::uint64_t us, double overlap, double correlation);
  void shadow_failed(const std::string& release);

  /// The bytes of an ArmReport, and begins anew; empty when there is nothing to say.
  chunk take(const std::string& gateway, std::uint64_t number);

private:
  using buckets = std::array<std::uint64_t, bounds.size() + 1>;
  struct counts {
    std::uint64_t answers = 0, errors = 0, degraded = 0;
    buckets latency{};
  };
  struct shadow {
    std::uint64_t compared = 0, errors = 0;
    double overlap = 0, correlation = 0;
    buckets latency{};
  };

  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, counts> arms_; ///< By arm and release.
  std::map<std::string, shadow> shadows_;
};

} // namespace troupe::gateway
