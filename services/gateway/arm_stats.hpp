#pragma once

#include "common/core/bytes.hpp"
#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace troupe::gateway {

/// What this gateway saw per arm since it last said so. Any thread.
class arm_stats {
public:
  static constexpr std::array<std::uint64_t, 20> bounds{
      250,    500,    1'000,  2'000,  3'000,   5'000,   7'500,   10'000,  15'000,    20'000,
      30'000, 42'000, 60'000, 80'000, 120'000, 200'000, 350'000, 500'000, 1'000'000, 2'500'000};

  void answered(const std::string& arm, const std::string& release, std::uint64_t us, bool error,
                bool degraded) {
    std::lock_guard lock{mutex_};
    auto& to = arms_[{arm, release}];
    ++to.answers;
    to.errors += error;
    to.degraded += degraded;
    ++to.latency[place(us)];
  }

  void compared(const std::string& release, std::uint64_t us, double overlap, double correlation) {
    std::lock_guard lock{mutex_};
    auto& to = shadows_[release];
    ++to.compared;
    to.overlap += overlap;
    to.correlation += correlation;
    ++to.latency[place(us)];
  }

  void shadow_failed(const std::string& release) {
    std::lock_guard lock{mutex_};
    ++shadows_[release].errors;
  }

  /// The bytes of an ArmReport, and begins anew; empty when there is nothing to say.
  chunk take(const std::string& gateway, std::uint64_t number) {
    std::lock_guard lock{mutex_};
    if (arms_.empty() && shadows_.empty())
      return {};
    flatbuffers::FlatBufferBuilder out;
    std::vector<flatbuffers::Offset<wire::ArmCounts>> arms;
    auto edges = [&] { return out.CreateVector(bounds.data(), bounds.size()); };
    for (auto& [who, each] : arms_) {
      auto name = out.CreateString(who.first), release = out.CreateString(who.second);
      auto at = edges(), counts = out.CreateVector(each.latency.data(), each.latency.size());
      arms.push_back(
          wire::CreateArmCounts(out, name, release, each.answers, each.errors, each.degraded, at, counts));
    }
    std::vector<flatbuffers::Offset<wire::ShadowCounts>> shadows;
    for (auto& [name, each] : shadows_) {
      auto release = out.CreateString(name);
      auto at = edges(), counts = out.CreateVector(each.latency.data(), each.latency.size());
      shadows.push_back(wire::CreateShadowCounts(out, release, each.compared, each.overlap, each.correlation,
                                                 each.errors, at, counts));
    }
    auto who = out.CreateString(gateway);
    auto a = out.CreateVector(arms);
    auto b = out.CreateVector(shadows);
    out.Finish(wire::CreateArmReport(out, who, number, a, b), "TRPD");
    arms_.clear();
    shadows_.clear();
    return net::bytes_of(out);
  }

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

  static std::size_t place(std::uint64_t us) {
    return static_cast<std::size_t>(std::ranges::lower_bound(bounds, us) - bounds.begin());
  }

  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, counts> arms_;
  std::map<std::string, shadow> shadows_;
};

/// Share of the first `n` that two lists have in common, and Spearman's rank correlation over the common
/// items (0 where there are fewer than two).
std::pair<double, double> compare(const std::vector<std::string>& shown,
                                  const std::vector<std::string>& other);

} // namespace troupe::gateway
