#include "services/gateway/logic/arm_counts.hpp"

#include "common/net/payload.hpp"

#include "schemas/deployer_generated.h"

#include <algorithm>
#include <vector>

namespace troupe::gateway {

namespace {

std::size_t bucket_of(std::uint64_t us) {
  return static_cast<std::size_t>(std::ranges::lower_bound(arm_counts::bounds, us) -
                                  arm_counts::bounds.begin());
}

} // namespace

void arm_counts::answered(const std::string& arm, const std::string& release, std::uint64_t us, bool error,
                          bool degraded) {
  std::lock_guard lock{mutex_};
  auto& to = arms_[{arm, release}];
  ++to.answers;
  to.errors += error;
  to.degraded += degraded;
  ++to.latency[bucket_of(us)];
}

void arm_counts::compared(const std::string& release, std::uint64_t us, double overlap, double correlation) {
  std::lock_guard lock{mutex_};
  auto& to = shadows_[release];
  ++to.compared;
  to.overlap += overlap;
  to.correlation += correlation;
  ++to.latency[bucket_of(us)];
}

void arm_counts::shadow_failed(const std::string& release) {
  std::lock_guard lock{mutex_};
  ++shadows_[release].errors;
}

chunk arm_counts::take(const std::string& gateway, std::uint64_t number) {
  decltype(arms_) arms_seen;
  decltype(shadows_) shadows_seen;
  {
    std::lock_guard lock{mutex_};
    arms_seen.swap(arms_);
    shadows_seen.swap(shadows_);
  }
  if (arms_seen.empty() && shadows_seen.empty())
    return {};
  flatbuffers::FlatBufferBuilder out;
  std::vector<flatbuffers::Offset<wire::ArmCounts>> arms;
  auto edges = [&] { return out.CreateVector(bounds.data(), bounds.size()); };
  for (auto& [arm, each] : arms_seen) {
    auto name = out.CreateString(arm.first), release = out.CreateString(arm.second);
    auto at = edges(), counts = out.CreateVector(each.latency.data(), each.latency.size());
    arms.push_back(
        wire::CreateArmCounts(out, name, release, each.answers, each.errors, each.degraded, at, counts));
  }
  std::vector<flatbuffers::Offset<wire::ShadowCounts>> shadows;
  for (auto& [name, each] : shadows_seen) {
    auto release = out.CreateString(name);
    auto at = edges(), counts = out.CreateVector(each.latency.data(), each.latency.size());
    shadows.push_back(wire::CreateShadowCounts(out, release, each.compared, each.overlap, each.correlation,
                                               each.errors, at, counts));
  }
  auto identity = out.CreateString(gateway);
  auto a = out.CreateVector(arms);
  auto b = out.CreateVector(shadows);
  out.Finish(wire::CreateArmReport(out, identity, number, a, b), "TRPD");
  return net::bytes_of(out);
}

} // namespace troupe::gateway
